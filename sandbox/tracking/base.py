"""The interface of a tracker: begin or resume a run, log its lines, and end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["finished", "failed", "interrupted"]


class Tracker(Protocol):
    """Logs one run to another tool. Trackers only receive; if one fails, the run continues without it.

    The constructor only raises ImportError where the library is missing. `begin` imports the library, in the process
    that learns.
    """

    def begin(self, folder: Path, parameters: Mapping[str, Any], kept: int) -> int:
        """Open the tracked run of a run folder, or resume the one of an earlier attempt.

        Args:
            folder: of the run.
            parameters: the flattened configuration.
            kept: step of the last line that is still valid, -1 for none. Points after it are obsolete.

        Returns:
            The last valid step that is already tracked, -1 for none. The lines after it are logged at once, so that a
            run that was not tracked from the start is tracked completely.
        """
        ...

    def log(self, step: int, values: Mapping[str, float], health: Sequence[str]) -> None:
        """Log the numbers of one line, and all findings about the run's health so far."""
        ...

    def end(self, status: Status, values: Mapping[str, float]) -> None:
        """Record how this attempt ended, with the numbers of the result where it finished.

        A run that is killed before it could save its result is resumed, and therefore ends twice.
        """
        ...


def require(tracker: str, *modules: str) -> None:
    """Raise ImportError with the command to install missing modules, without importing any.

    >>> require("Nobody", "json")
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{tracker} needs {', '.join(missing)}, which is not installed: "
            "pip install 'learning-rule-sandbox[trackers]'"
        )
