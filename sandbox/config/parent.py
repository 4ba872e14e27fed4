"""The finished run that another run begins from: its weights, or its model as a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rules.fields import check_fields


@dataclass(frozen=True)
class Parent:
    """A finished run whose weights a run begins with, whose model teaches it, or both.

    The teacher sees the batches of the run as they are before augmentation. It brings its own bins of time
    (`NetworkConfig.rebin`), is run and counted, and is never trained, nor saved with the run, which reads it again.

    Args:
        folder: of the finished run. A relative one is looked for beside the folder of the run that it is the parent of,
            then from the working folder.
        how: "weights" to begin with its weights, "teacher" to learn from its model, by an objective with a field
            `teacher` (kdcl, self_ensemble, spad), "both" for the two of them.
        sha256: of the parent's configuration and of the weights that it keeps; found when the run begins, and part of
            its identity in place of the folder. None until then.

    Raises:
        ValueError: for an empty folder, and another word for `how`.

    >>> Parent("runs/first", "weights").teaches, Parent("runs/first").teaches
    (False, True)
    """

    folder: str
    how: Literal["weights", "teacher", "both"] = "both"
    sha256: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.folder:
            raise ValueError("folder='': give the folder of a finished run")

    @property
    def teaches(self) -> bool:
        """Whether its model is the teacher of the objective."""
        return self.how != "weights"

    @property
    def bequeaths(self) -> bool:
        """Whether the run begins with its weights."""
        return self.how != "teacher"
