"""The interface of the jobs that an executor runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Work(Protocol):
    """A job with its own folder; after a kill, a second call of `work` continues it."""

    @property
    def preload(self) -> tuple[str, ...]:
        """Names of modules that are imported once, before workers are forked."""
        ...

    @property
    def folder(self) -> Path:
        """Folder of the job; no two jobs share one."""
        ...

    @property
    def alone(self) -> bool:
        """Whether it gets a process of its own: the user's code may leave anything behind for the next job."""
        ...

    def work(self, progress: Callable[[int, int], None]) -> None:
        """Do the job; call `progress` with the steps done and the total number of steps."""
        ...

    def failed(self) -> None:
        """Record that the job raised an exception."""
        ...
