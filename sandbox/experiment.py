"""One run: build what the configuration says, learn, look at the test set once, leave a folder behind."""

from __future__ import annotations

import io
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rules import Batch, HealthWarning, NonFinite, StepInfo, Trainer, Unhealthy
from sandbox import folder as folders
from sandbox import index
from sandbox.build import calibrate, firing_report
from sandbox.config import Experiment
from sandbox.encode import check_sequence
from sandbox.ledger import Bill
from sandbox.microscope import journal
from sandbox.network import Network
from sandbox.noisy import NoisyReadout
from sandbox.synapses import using
from sandbox.tasks.base import Dataset, Split
from sandbox.tasks.loader import Loader
from sandbox.tracking import Tracker
from sandbox.tracking.together import Tracked, made

Progress = Callable[[int, int], None]  # steps done, steps in all


class RunFailed(RuntimeError):
    """The run stopped; its folder holds the last good checkpoint."""


def run(
    experiment: Experiment,
    folder: Path,
    *,
    data_dir: str | None = None,
    progress: Progress | None = None,
    patience: float = 0.0,
    trackers: Sequence[str | Tracker] = (),
) -> dict[str, Any]:
    """Run an experiment in a folder, continuing bit for bit where an earlier attempt was stopped.

    The folder gets `config.yaml`, `provenance.json`, `metrics.jsonl` (a line an epoch), `checkpoint.pt`, `result.json`,
    `test.json` (how often the test set was looked at) and `timing.json`; with a microscope also `microscope.jsonl`. The
    test set is evaluated once, after the last epoch; a finished run returns its result without touching it again.
    `trackers` are told every line, and nothing of a run that was finished before; they are no part of the experiment,
    and the run goes on where one fails. Raises ImportError for one whose library is missing, FolderInUse, ValueError
    for a folder with another configuration, and RunFailed, which names the last good checkpoint, for a NaN or an
    infinity.
    """
    told = made(trackers)
    with folders.locked(folder, patience), _threads(experiment.threads), using(experiment.synapses):
        folders.check_resumable(folder)
        folders.write_config(folder, "run", asdict(experiment))
        result = folder / "result.json"
        if not result.exists():
            (folder / "error.txt").unlink(missing_ok=True)
            index.record(folder, experiment, "running")
            with Tracked(told, folder, asdict(experiment)) as tracked:
                learned = _learn(experiment, folder, data_dir, progress or (lambda done, total: None), tracked)
                tracked.end("finished", learned)
            folders.write_json(result, learned)
        found: dict[str, Any] = folders.read_json(result)
        if progress is not None:
            progress(found["steps"], found["steps"])
        index.record(folder, experiment, "done", found["test"]["accuracy"])
        return found


def _learn(
    experiment: Experiment, folder: Path, data_dir: str | None, progress: Progress, tracked: Tracked
) -> dict[str, Any]:
    data = experiment.make_task().load(data_dir)
    trainer, train = prepare(experiment, data)
    microscope = None if experiment.microscope is None else experiment.microscope.make()
    validation, test = (evaluation(experiment, split) for split in (data.validation, data.test))
    folders.write_json(folder / "provenance.json", folders.provenance(data.checksum))
    book = Book(folder, trainer, tracked)
    resumed = book.resume()
    tracked.begin(book.metrics)
    if not resumed:
        book.note(epoch=0, validation=trainer.evaluate(validation))
    total = experiment.epochs * len(train)
    shown = train if microscope is None else microscope.watch(trainer, train, partial(journal.write_look, book.looks))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HealthWarning)  # said below, and kept in the book
            for info in trainer.fit(shown, experiment.epochs - trainer.epoch):
                for finding in info.health:
                    tqdm.write(f"health at step {info.step} of {folder.name}: {finding}", file=sys.stderr)
                book.add(info)
                if trainer.position == len(train):
                    book.note(epoch=info.epoch + 1, validation=trainer.evaluate(validation))
                elif info.step % experiment.checkpoint_steps == 0:
                    book.save()
                progress(info.step, total)
    except (NonFinite, Unhealthy) as error:
        (folder / "error.txt").write_text(f"{error}\n")  # what the index is rebuilt from
        index.record(folder, experiment, "failed")
        raise RunFailed(f"{error}. The last good checkpoint, after step {book.saved}, is {book.checkpoint}") from error
    folders.write_json(folder / "timing.json", {"seconds": book.seconds, "peak_bytes": book.bill.peak_bytes})
    sample = next(iter(validation))
    steps = len(sample.x) if getattr(validation.encoder, "timed", True) else 1
    return {
        "cost": book.bill.facts(),
        "firing": firing_report(trainer.model, sample.x),
        "health": book.health,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "parameters_trained": sum(p.numel() for p in trainer.parameters.values()),
        "steps": trainer.steps,
        "train": trainer.evaluate(evaluation(experiment, head(data.train))),
        "test": _look_once(trainer, test, range(1, steps + 1), folder / "test.json"),
        "validation": trainer.evaluate(validation),
    }


def prepare(experiment: Experiment, data: Dataset) -> tuple[Trainer, Loader]:
    """The trainer, with weights drawn from the seed, those of neurons scaled on the first batch, and its loader.

    Runs that differ in nothing but the rule start from the same weights and see the same batches. Raises ValueError for
    an encoder that does not suit the samples.
    """
    encoder = experiment.encoder.make("encoder")
    check_sequence(encoder, data.sequence)
    network = experiment.network.make(data.shape, data.classes, experiment.seed)
    train = Loader(data.train, encoder, experiment.batch_size, seed=experiment.seed, augment=experiment.augmentation())
    inner = network.inner if isinstance(network, NoisyReadout) else network
    if isinstance(inner, Network):
        first: Batch = next(iter(train))
        calibrate(inner, first.x, experiment.network.rate)
    return Trainer(network, experiment.rule.make(), seed=experiment.seed, health=experiment.health), train


def _look_once(trainer: Trainer, test: Loader, steps: range, ledger: Path) -> dict[str, float]:
    """Evaluate on the test set, having written down that it is looked at, so that a look that was killed counts.

    A model that can be asked in several ways is asked in all of them; `accuracy` is that of the first.
    """
    before = folders.read_json(ledger)["evaluations"] if ledger.exists() else 0
    folders.write_json(ledger, {"evaluations": before + 1})
    found = trainer.evaluate(test, steps)
    for mode in trainer.rule.credit.inferences[1:]:
        found[f"accuracy_{mode}"] = trainer.evaluate(test, inference=mode)["accuracy"]
    return found


def head(split: Split, most: int = 10_000) -> Split:
    """The first so many samples: enough for a training accuracy to half a point."""
    return Split(split.x[:most], split.y[:most])


def evaluation(experiment: Experiment, split: Split) -> Loader:
    """A split in its own order, in large batches."""
    return Loader(split, experiment.encoder.make("encoder"), 500, seed=experiment.seed, shuffle=False)


class Book:
    """What a run writes down: a line an epoch, looks, and checkpoints that know how many lines belong to them."""

    def __init__(self, folder: Path, trainer: Trainer, tracked: Tracked) -> None:
        self.trainer = trainer
        self.tracked = tracked
        self.metrics = folder / "metrics.jsonl"
        self.looks = folder / journal.NAME
        self.checkpoint = folder / "checkpoint.pt"
        self.bill = Bill()
        self.health: list[str] = []
        self.saved = 0  # step of the newest checkpoint
        self._loss, self._steps = 0.0, 0  # of the current epoch
        self._begun, self._spent = time.perf_counter(), 0.0

    def add(self, info: StepInfo) -> None:
        """Count one step."""
        self.bill.add(info)
        self.health += map(str, info.health)
        self._loss, self._steps = self._loss + info.loss, self._steps + 1

    @property
    def seconds(self) -> float:
        """Spent on learning in all attempts so far, without trackers; what was lost with a kill is not in it."""
        return self._spent + time.perf_counter() - self._begun - self.tracked.seconds

    def note(self, epoch: int, validation: dict[str, float]) -> None:
        """Write the epoch's line, then a checkpoint, then tell of the line."""
        line = {
            "epoch": epoch,
            "step": self.trainer.steps,
            "train_loss": self._loss / self._steps if self._steps else None,
            "validation_accuracy": validation["accuracy"],
            "validation_loss": validation["loss"],
            **self.bill.facts(),
        }
        with open(self.metrics, "a") as file:
            file.write(json.dumps(line) + "\n")
        self._loss, self._steps = 0.0, 0
        self.save()
        self.tracked.log(line, self.health)

    def save(self) -> None:
        """Write the checkpoint atomically."""
        file = io.BytesIO()
        state = {
            "format": folders.FORMAT,
            "trainer": self.trainer.state_dict(),
            "lines": self.metrics.stat().st_size,
            "looks": self.looks.stat().st_size if self.looks.exists() else 0,
            "book": {
                "bill": self.bill.state_dict(),
                "health": self.health,
                "loss": self._loss,
                "steps": self._steps,
                "seconds": self.seconds,
            },
        }
        torch.save(state, file)
        folders.write_atomically(self.checkpoint, file.getvalue())
        self.saved = self.trainer.steps

    def resume(self) -> bool:
        """Take up the newest checkpoint and drop the lines written after it; False where there is none."""
        if not self.checkpoint.exists():
            self.metrics.unlink(missing_ok=True)
            self.looks.unlink(missing_ok=True)
            return False
        state = read_checkpoint(self.checkpoint)
        try:
            self.trainer.load_state_dict(state["trainer"])
            book = state["book"]
            self.bill.load_state_dict(book["bill"])
            self.health, self._loss = book["health"], book["loss"]
            self._steps, self._spent = book["steps"], book["seconds"]
        except Exception as error:  # of another model, or of an earlier version
            raise _unreadable(self.checkpoint, error) from error
        with open(self.metrics, "a") as file:
            file.truncate(state["lines"])
        if self.looks.exists():
            with open(self.looks, "a") as file:
                file.truncate(state["looks"])
        self.saved = self.trainer.steps
        return True


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, read without running anything in it; raises RunFailed with the remedy where it cannot be.

    Checkpoints are plain data. One that names classes is of an earlier version, or somebody wants them run.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:  # half of a file, or one of an earlier version
        classes: list[str] = []
        with suppress(Exception):  # only a whole file can be asked what it names
            classes = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        if classes:
            raise RunFailed(
                f"{path} holds pickled classes ({', '.join(classes[:3])}), as written by earlier versions; reading them "
                "can run code, so it is not loaded. Remove it to start this run again"
            ) from error
        raise _unreadable(path, error) from error
    return state


def _unreadable(path: Path, error: Exception) -> RunFailed:
    return RunFailed(f"{path} cannot be read ({error}); remove it to start this run again")


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
