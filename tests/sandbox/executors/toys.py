"""Jobs of a few milliseconds that leave a line for every attempt and for every step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sandbox.executors.base import Progress, free


@dataclass(frozen=True)
class Steps:
    """Writes `steps` lines, going on where an earlier attempt was stopped."""

    preload: ClassVar[tuple[str, ...]] = ("tests.sandbox.executors.toys",)
    alone: ClassVar[bool] = False

    folder: Path
    steps: int = 3
    pause: float = 0.0  # before each step [s]
    error: str = ""  # raised at the end
    states: Path | None = None  # gets a line for each state that the caller notes

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "attempts", "a") as file:
            file.write(f"{os.getpid()}\n")
        path = self.folder / "steps"
        begun = len(path.read_text().splitlines()) if path.exists() else 0
        for step in range(begun, self.steps):
            time.sleep(self.pause)
            fence()
            with open(path, "a") as file:
                file.write(f"{step}\n")
            progress(step + 1, self.steps)
        if self.error:
            raise ValueError(self.error)

    @property
    def has_result(self) -> bool:
        """Whether all steps are written and nothing was to be raised."""
        return not self.error and len(self.written()) == self.steps

    def noted(self, state: str) -> None:
        if self.states is not None:
            with open(self.states, "a") as file:
                file.write(f"{self.folder.name} {state} {os.getpid()}\n")

    def attempts(self) -> list[int]:
        """The processes of the attempts so far."""
        path = self.folder / "attempts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def written(self) -> list[int]:
        """The steps that are written."""
        path = self.folder / "steps"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)


def lives(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
