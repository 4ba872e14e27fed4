"""A job that starts at once and that can be killed anywhere: a chain of hashes with a checkpoint after every step."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
            if self.harm and step >= self.steps // 2:
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
        path = self.folder / "attempts.txt"
        return list(dict.fromkeys(map(int, path.read_text().split()))) if path.exists() else []

    @property
    def has_result(self) -> bool:
        return (self.folder / "result.json").exists()


def chains(folder: Path, count: int, **options) -> list[Chain]:
    folder.mkdir(parents=True, exist_ok=True)
    return [Chain(folder / f"run{number}", **options) for number in range(count)]


def started(jobs: Sequence[Chain], seconds: float = 240, processes: int = 1) -> None:
    """Wait until so many processes have worked on each: seconds on a quiet machine, minutes on a busy one."""
    end = time.monotonic() + seconds
    while not all(len(job.processes) >= processes for job in jobs):
        assert time.monotonic() < end, "the jobs do not start"
        time.sleep(0.02)


@contextmanager
def killing(jobs: Sequence[Chain], count: int, dice: random.Random) -> Iterator[list[int]]:
    """Kill so many workers at random moments while a block runs, none more often than a job may start again."""
    killed: list[int] = []
    times: Counter[Path] = Counter()
    stop = threading.Event()

    def kill() -> None:
        while len(killed) < count and not stop.wait(dice.uniform(0.0, 0.3)):
            alive = [job for job in jobs if not job.has_result and job.processes and times[job.folder] < 4]
            alive = [job for job in alive if job.processes[-1] not in killed]
            if alive:
                job = dice.choice(alive)
                with suppress(ProcessLookupError):
                    os.kill(job.processes[-1], signal.SIGKILL)
                    killed.append(job.processes[-1])
                    times[job.folder] += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()
