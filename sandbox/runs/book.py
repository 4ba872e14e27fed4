"""The records of a run while it learns: one line of metrics per epoch, and checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rules import StepInfo, Trainer
from sandbox.executors.base import free
from sandbox.ledger import Bill
from sandbox.measures import measured, of_text, score
from sandbox.microscope import journal
from sandbox.microscope.look import Look
from sandbox.runs.checkpoint import NAME, unreadable, write_checkpoint
from sandbox.runs.checkpoint import RunFailed as RunFailed
from sandbox.runs.growing import Growing
from sandbox.tracking.together import Tracked


class Book:
    """The records of a run: a line per epoch, looks of the microscope, and checkpoints.

    A checkpoint stores which run it belongs to, and how many bytes of the other two files belong to it, so that a
    resumed run drops what was written after it. Those bytes are on disk before the checkpoint is.

    Args:
        folder: of the run.
        trainer: what is kept in checkpoints.
        tracked: the trackers.
        batch_size: of a full batch.
        bound: what every checkpoint says about its run.
        fence: called before each write; it raises where another process has taken the run over.
        best: whether to keep the state of the first epoch that was best on validation data, from the first on.
    """

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        tracked: Tracked,
        batch_size: int,
        bound: Mapping[str, Any],
        fence: Callable[[], None] = free,
        best: bool = False,
    ) -> None:
        self.trainer = trainer
        self.tracked = tracked
        self.metrics = folder / "metrics.jsonl"
        self.looks = folder / journal.NAME
        self.checkpoint = folder / NAME
        self._grown = {"metrics": Growing(self.metrics), "looks": Growing(self.looks)}
        self._bound = dict(bound)
        self.bill = Bill()
        self.health: list[str] = []
        self.best: dict[str, Any] | None = None  # epoch, measure on validation data, and state of the trainer
        self._keeps_best = best
        self.saved = 0  # step of the newest checkpoint
        self._batch_size = batch_size
        self._fence = fence
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
        self.bill.size(self.trainer.model, self.trainer.optimizer)
        line = {
            "epoch": epoch,
            "step": self.trainer.steps,
            "train_loss": self._loss / self._steps if self._steps else None,
            f"validation_{measured(validation)}": score(validation),
            "validation_loss": validation["loss"],
            **{f"validation_{name}": value for name, value in of_text(validation).items()},
            **self.bill.facts(),
        }
        self._grown["metrics"].write(json.dumps(line) + "\n")
        self._loss, self._steps = 0.0, 0.0
        found = score(validation)
        if self._keeps_best and epoch and (self.best is None or found > self.best["score"]):
            self.best = {"epoch": epoch, "score": found, "trainer": self.trainer.state_dict()}
        self.save()
        self.tracked.log(line, self.health)

    def look(self, look: Look) -> None:
        """Write a look of the microscope."""
        self._fence()
        self._grown["looks"].write(journal.lines(look))

    def save(self) -> None:
        """Flush metrics and looks to the disk, then write the checkpoint atomically."""
        self._fence()
        counted = {name: file.settle() for name, file in self._grown.items()}
        book = {
            "bill": self.bill.state_dict(),
            "health": self.health,
            "loss": self._loss,
            "steps": self._steps,
            "seconds": self.seconds,
            **({} if self.best is None else {"best": self.best}),
        }
        state = {"trainer": self.trainer.state_dict(), "bound": self._bound, "book": book, **counted}
        write_checkpoint(self.checkpoint, state)
        self.saved = self.trainer.steps

    def begin(self) -> None:
        """Remove what an attempt wrote that was killed before its first checkpoint."""
        self._fence()
        for file in self._grown.values():
            file.restart()

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint, and drop the lines written after it.

        Raises:
            ValueError: for metrics or looks that are not those which the checkpoint counts; nothing is changed then.
            RunFailed: for a checkpoint that does not fit the model.
        """
        try:
            for name, file in self._grown.items():
                file.require(state[name])
        except (KeyError, TypeError) as error:
            raise unreadable(self.checkpoint, f"{type(error).__name__}: {error}") from error
        try:
            book = state["book"]
            self.trainer.load_state_dict(state["trainer"])
            self.bill.load_state_dict(book["bill"])
            self.health, self._loss = book["health"], book["loss"]
            self._steps, self._spent = book["steps"], book["seconds"]
            self.best = book.get("best")
        except Exception as error:  # of another model, or damaged
            raise unreadable(self.checkpoint, f"{type(error).__name__}: {error}") from error
        self._fence()
        for file in self._grown.values():
            file.cut()
        self.saved = self.trainer.steps
