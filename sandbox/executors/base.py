"""What an executor is handed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Work(Protocol):
    """What a worker does in a folder of its own; done again after a kill, it continues."""

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that are imported once, before workers are forked."""
        ...

    @property
    def folder(self) -> Path:
        """Where it works; no two jobs share one."""
        ...

    def work(self, progress: Callable[[int, int], None]) -> None:
        """Do the job; `progress` is told the steps done and the steps in all."""
        ...

    def failed(self) -> None:
        """Note that the job raised an exception."""
        ...
