"""The records of a run while it learns: one line of metrics per epoch, and checkpoints."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from rules import StepInfo, Trainer
from sandbox.executors.base import free
from sandbox.ledger import Bill
from sandbox.machine import files
from sandbox.measures import measured, score
from sandbox.microscope import journal
from sandbox.microscope.look import Look
from sandbox.runs import folder as folders
from sandbox.tracking.together import Tracked


class RunFailed(RuntimeError):
    """A run stopped with an error; its folder keeps the last good checkpoint."""


class Book:
    """The records of a run: a line per epoch, looks of the microscope, and checkpoints.

    A checkpoint stores how many bytes of the other two files belong to it, so that a resumed run drops what was written
    after it.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        tracked: Tracked,
        batch_size: int,
        fence: Callable[[], None] = free,
    ) -> None:
        self.trainer = trainer
        self.tracked = tracked
        self.metrics = folder / "metrics.jsonl"
        self.looks = folder / journal.NAME
        self.checkpoint = folder / "checkpoint.pt"
        self.bill = Bill()
        self.health: list[str] = []
        self.saved = 0  # step of the newest checkpoint
        self._batch_size = batch_size
        self._fence = fence  # called before each write
        self._lines, self._looked = 0, 0  # bytes of the two files that are ours
        self._loss, self._steps = (
            0.0,
            0.0,
        )  # of the epoch: the sum over steps, and their number, in full batches
        self._begun, self._spent = time.perf_counter(), 0.0

    def add(self, info: StepInfo) -> None:
        """Count one step."""
        if not self.bill.cost.forwards:
            # Raises early: state that appears with the first step must be plain data, too, or no checkpoint is written.
            self.trainer.state_dict()
        self.bill.add(info)
        self.health += map(str, info.health)
        share = info.samples / self._batch_size  # so that every sample counts the same; 1 for a full batch
        self._loss, self._steps = self._loss + info.loss * share, self._steps + share

    @property
    def seconds(self) -> float:
        """Time spent on learning in all attempts so far [s], without trackers; steps that a kill undid are left out."""
        return self._spent + time.perf_counter() - self._begun - self.tracked.seconds

    def note(self, epoch: int, validation: dict[str, float]) -> None:
        """Write the epoch's line, then a checkpoint, then pass the line to the trackers."""
        self._fence()
        line = {
            "epoch": epoch,
            "step": self.trainer.steps,
            "train_loss": self._loss / self._steps if self._steps else None,
            f"validation_{measured(validation)}": score(validation),
            "validation_loss": validation["loss"],
            **self.bill.facts(),
        }
        self._lines = _put(self.metrics, self._lines, json.dumps(line) + "\n")
        self._loss, self._steps = 0.0, 0.0
        self.save()
        self.tracked.log(line, self.health)

    def look(self, look: Look) -> None:
        """Write a look of the microscope."""
        self._fence()
        self._looked = _put(self.looks, self._looked, journal.lines(look))

    def save(self) -> None:
        """Write the checkpoint atomically."""
        self._fence()
        file = io.BytesIO()
        state = {
            "format": folders.FORMAT,
            "trainer": self.trainer.state_dict(),
            "lines": self._lines,
            "looks": self._looked,
            "book": {
                "bill": self.bill.state_dict(),
                "health": self.health,
                "loss": self._loss,
                "steps": self._steps,
                "seconds": self.seconds,
            },
        }
        torch.save(state, file)
        files.write_atomically(self.checkpoint, file.getvalue())
        self.saved = self.trainer.steps

    def resume(self) -> bool:
        """Load the newest checkpoint and drop the lines written after it; return False if there is none."""
        self._fence()
        if not self.checkpoint.exists():
            self.metrics.unlink(missing_ok=True)
            self.looks.unlink(missing_ok=True)
            return False
        state = read_checkpoint(self.checkpoint)
        try:
            lines, looks, book = int(state["lines"]), int(state["looks"]), state["book"]
            self.trainer.load_state_dict(state["trainer"])
            self.bill.load_state_dict(book["bill"])
            self.health, self._loss = book["health"], book["loss"]
            self._steps, self._spent = book["steps"], book["seconds"]
        except Exception as error:  # of another model, or damaged
            raise _unreadable(self.checkpoint, f"{type(error).__name__}: {error}") from error
        with open(self.metrics, "a") as file:
            file.truncate(lines)
        if self.looks.exists():
            with open(self.looks, "a") as file:
                file.truncate(looks)
        self.saved = self.trainer.steps
        self._lines, self._looked = lines, looks
        return True


def _put(path: Path, place: int, text: str) -> int:
    """Write text at a place of a file, in bytes from its beginning; return where the text ends.

    Unlike what appends, a process that lost its run while it was suspended, and wakes within its last write, writes the
    bytes that its successor has written there, or will.
    """
    content = text.encode()
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b") as file:
        file.seek(place)
        file.write(content)
    return place + len(content)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running anything in it.

    Checkpoints are plain data. One that names classes was written by an earlier version, or by somebody who wants their
    code to run here.

    Raises:
        RunFailed: for a file that cannot be read; the message names the remedy.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # half of a file, or one of an earlier version
        classes: list[str] = []
        with suppress(Exception):  # only a complete file can be searched for class names
            classes = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        if classes:
            raise RunFailed(
                f"{path} holds pickled classes ({', '.join(classes[:3])}), as written by earlier versions; reading "
                "them can run code, so it is not loaded. Remove it to start this run again"
            ) from error
        raise _unreadable(path, f"{type(error).__name__}: it is empty, cut off, or not a checkpoint") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != folders.FORMAT:
        raise _unreadable(path, f"it has format {found!r}, this version reads {folders.FORMAT}")
    return state


def _unreadable(path: Path, why: str) -> RunFailed:
    return RunFailed(f"{path} cannot be read ({why}); remove it to start this run again")
