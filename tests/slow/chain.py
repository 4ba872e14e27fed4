"""A job that starts at once and that can be killed anywhere: a chain of hashes with a checkpoint after every step."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sandbox.machine import files


@dataclass(frozen=True)
class Chain:
    folder: Path
    steps: int = 20
    pause: float = 0.05  # [s] of one step
    harm: str = ""  # how it ends instead: "raise", "exit", or "die" (killed by a signal)

    preload: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = False

    def work(self, progress, fence=lambda: None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "checkpoint.json"
        step, value = files.read_json(path) if path.exists() else (0, self.folder.name)
        while step < self.steps:
            step, value = step + 1, hashlib.sha256(value.encode()).hexdigest()
            time.sleep(self.pause)
            fence()
            files.write_json(path, [step, value])
            progress(step, self.steps)
            with open(self.folder / "attempts.txt", "a") as file:
                file.write(f"{os.getpid()}\n")
            if self.harm and step == self.steps // 2:
                self._end()
        fence()
        (self.folder / "result.json").write_text(json.dumps(value))

    def _end(self) -> None:
        if self.harm == "raise":
            raise ValueError("half is enough")
        if self.harm == "exit":
            sys.exit(3)
        os.kill(os.getpid(), 9)

    def noted(self, state: str) -> None:
        with open(self.folder.parent / "noted.txt", "a") as file:  # by the caller
            file.write(f"{self.folder.name} {state} {os.getpid()}\n")

    @property
    def expected(self) -> str:
        value = self.folder.name
        for _ in range(self.steps):
            value = hashlib.sha256(value.encode()).hexdigest()
        return value

    @property
    def result(self) -> str:
        return json.loads((self.folder / "result.json").read_text())

    @property
    def processes(self) -> list[int]:
        """Those that worked on it, in their order."""
        return list(dict.fromkeys(map(int, (self.folder / "attempts.txt").read_text().split())))


def chains(folder: Path, count: int, **options) -> list[Chain]:
    folder.mkdir(parents=True, exist_ok=True)
    return [Chain(folder / f"run{number}", **options) for number in range(count)]
