"""What a tracker is asked for: take up a run, be told of it line by line, and hear how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["finished", "failed", "interrupted"]


class Tracker(Protocol):
    """One run as a foreign tool sees it. It only listens, and may fail: the run goes on without it.

    Constructing one does nothing but to raise ImportError where its library is missing; the library is imported by
    `begin`, in the process that learns.
    """

    def begin(self, folder: Path, parameters: Mapping[str, Any], kept: int) -> int:
        """Open the tracked run of a run folder, or take up the one that an earlier attempt left.

        `parameters` is the flattened configuration. `kept` is the step of the last line that the run stands by, -1 for
        none: points after it do not count any more. Returns the last step that is tracked and counts, -1 for none; the
        lines after it are told at once, so that a run which was not tracked from its beginning is tracked whole.
        """
        ...

    def log(self, step: int, values: Mapping[str, float], health: Sequence[str]) -> None:
        """Be told the numbers of one line, and every finding about the run's health so far."""
        ...

    def end(self, status: Status, values: Mapping[str, float]) -> None:
        """Hear how this attempt ended, with the numbers of the result where it finished.

        A run that is killed before it could write its result down is taken up once more, and ends twice.
        """
        ...


def require(tracker: str, *modules: str) -> None:
    """Raise ImportError, which names the command to install them, where modules are missing; imports none.

    >>> require("Nobody", "json")
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{tracker} needs {', '.join(missing)}, which is not installed: "
            "pip install 'learning-rule-sandbox[trackers]'"
        )
