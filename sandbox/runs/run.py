"""Run one experiment: build it from its configuration, train, evaluate the test set once, and write a folder."""

from __future__ import annotations

import io
import json
import multiprocessing
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from rules import Batch, HealthWarning, NonFinite, Trainer, Unhealthy
from rules.batches import fitted, moved
from rules.generators import Globals
from rules.seeds import derived
from rules.team import ALONE, Team
from sandbox.config.experiment import Experiment
from sandbox.config.registry import made, sources
from sandbox.machine import devices, files
from sandbox.measures import measured, score
from sandbox.microscope import journal
from sandbox.networks.calibration import calibrate, firing_report
from sandbox.networks.network import Network
from sandbox.networks.noisy import NoisyReadout
from sandbox.runs import folder as folders
from sandbox.runs import index
from sandbox.runs.arrays import attached, keep
from sandbox.runs.book import Book, RunFailed
from sandbox.synapses import using
from sandbox.tasks.base import Dataset, Samples
from sandbox.tasks.encode import check_sequence, is_timed
from sandbox.tasks.loader import Loader
from sandbox.tracking import Tracker
from sandbox.tracking.together import Tracked

Progress = Callable[[int, int], None]  # steps done, total steps
_LAST: dict[tuple[str, str, str | None], Dataset] = {}
HEAD = 10_000  # training samples that are evaluated; they give an accuracy to half a percentage point


def run(
    experiment: Experiment,
    folder: Path | str,
    *,
    data_dir: str | None = None,
    progress: Progress | None = None,
    patience: float = 0.0,
    trackers: Sequence[str | Tracker] = (),
    team: Team = ALONE,
) -> dict[str, Any]:
    """Run an experiment in a folder, continuing bit for bit where an earlier attempt was stopped.

    The folder gets `config.yaml`, `provenance.json`, `metrics.jsonl` (a line per epoch), `checkpoint.pt`,
    `model.json` (what the model was asked before its first step, and what the rule trains), `result.json`, `test.json`
    (how often the test set was evaluated) and `timing.json`; with a microscope also `microscope.jsonl`. The test set is
    evaluated once, after the last epoch. A finished run returns its result without evaluating it again.

    Args:
        experiment: what to run.
        folder: where to run it; created if missing.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        progress: called with the steps done and the total number of steps.
        patience: how long to wait for another process that uses the folder [s], 0 by default.
        trackers: names or instances. They get every line of metrics, but nothing of a run that was already finished.
            They are not part of the configuration; if one fails, the run continues.
        team: processes that call this with the same arguments and run the experiment together. The first one writes
            the folder, evaluates, tracks and reports progress. By default this process runs it alone.

    Returns: the content of `result.json`.

    Raises:
        ImportError: for a tracker whose library is missing.
        FolderInUse: if another process uses the folder.
        ValueError: for a folder with another configuration, with other data, or with another version of the user's own
            code; for a device that is not here, before anything is written.
        RunFailed: for a NaN or an infinity; the message names the last good checkpoint.
        PeerFailed: if another process of the team has failed or ended.
    """
    with team.reporting():
        if team.first:
            return _run(experiment, folder, data_dir, progress, patience, trackers, team)
        return _follow(experiment, Path(folder), data_dir, team)


def _run(
    experiment: Experiment,
    folder: Path | str,
    data_dir: str | None,
    progress: Progress | None,
    patience: float,
    trackers: Sequence[str | Tracker],
    team: Team,
) -> dict[str, Any]:
    folder, active = Path(folder), made(trackers)
    if not (folder / "result.json").exists():
        devices.require(experiment.device)
    with folders.locked(folder, patience), own_process(experiment):
        folders.check_resumable(folder)
        experiment = attached(experiment, folder)
        folders.write_config(folder, "run", asdict(experiment))
        folders.check_code(folder, sources(asdict(experiment)))
        result = folder / "result.json"
        team.hear(b"finished" if result.exists() else b"learn")
        if not result.exists():
            (folder / "error.txt").unlink(missing_ok=True)
            keep(experiment, folder)
            index.record(folder, experiment, "running")
            with Tracked(active, folder, asdict(experiment)) as tracked, failures(folder, experiment):
                learned = _learn(experiment, folder, data_dir, progress or (lambda done, total: None), tracked, team)
                tracked.end("finished", learned)
            files.write_json(result, learned)
        found: dict[str, Any] = files.read_json(result)
        team.hear(json.dumps(found).encode())
        if progress is not None:
            progress(found["steps"], found["steps"])
        index.record(folder, experiment, "done", found["test"])
        return found


@contextmanager
def failures(folder: Path, experiment: Experiment) -> Iterator[None]:
    """Record in the folder and in the index that a run failed with an exception; Ctrl-C does not count as a failure."""
    try:
        yield
    except (Exception, SystemExit) as error:
        with suppress(OSError, sqlite3.Error):  # the disk may be full
            (folder / "error.txt").write_text(f"{error}\n", errors="backslashreplace")  # the index is rebuilt from it
            index.record(folder, experiment, "failed")
        raise


def _learn(
    experiment: Experiment, folder: Path, data_dir: str | None, progress: Progress, tracked: Tracked, team: Team
) -> dict[str, Any]:
    data = loaded(experiment, data_dir)
    team.require_same(facts(experiment, data, team))
    trainer, train = prepare(experiment, data, team)
    files.write_json(folder / "model.json", asked(trainer))
    microscope = None if experiment.microscope is None else experiment.microscope.make()
    validation = evaluation(experiment, data.validation, "validation")
    test = evaluation(experiment, data.test, "test")
    folders.check_data(folder, data.checksum)
    files.write_json(folder / "provenance.json", folders.provenance(data.checksum, sources(asdict(experiment))))
    book = Book(folder, trainer, tracked, experiment.batch_size)
    resumed = book.resume()
    team.hear(packed(trainer.state_dict()) if resumed and team.size > 1 else b"")
    tracked.begin(book.metrics)
    if not resumed:
        book.note(epoch=0, validation=trainer.evaluate(validation))
    total = experiment.epochs * len(train)
    shown = train if microscope is None else microscope.watch(trainer, train, partial(journal.write_look, book.looks))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HealthWarning)  # printed below, and kept in the book
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
        raise RunFailed(f"{error}. The last good checkpoint, after step {book.saved}, is {book.checkpoint}") from error
    files.write_json(folder / "timing.json", {"seconds": book.seconds, "peak_bytes": book.bill.peak_bytes})
    sample = next(iter(validation))
    steps = len(sample.x) if is_timed(validation.encoder) else 1
    return {
        "cost": book.bill.facts(),
        "firing": firing_report(trainer.model, fitted(sample, trainer.model, next(trainer.model.parameters())).x),
        "health": book.health,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "parameters_trained": sum(p.numel() for p in trainer.parameters.values()),
        "steps": trainer.steps,
        "train": trainer.evaluate(evaluation(experiment, data.train.first(HEAD), "training samples")),
        "test": _look_once(trainer, test, range(1, steps + 1), folder / "test.json"),
        "validation": trainer.evaluate(validation),
    }


def _follow(experiment: Experiment, folder: Path, data_dir: str | None, team: Team) -> dict[str, Any]:
    """Learn as a process of a team that is not the first: write nothing, and return what the first one found."""
    with own_process(experiment), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first process says the same
        if team.hear(b"") == b"learn":
            devices.require(experiment.device)
            experiment = attached(experiment, folder)
            data = loaded(experiment, data_dir)
            team.require_same(facts(experiment, data, team))
            trainer, train = prepare(experiment, data, team)
            if state := team.hear(b""):
                trainer.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
            for _ in trainer.fit(train, experiment.epochs - trainer.epoch):
                pass
        found: dict[str, Any] = json.loads(team.hear(b""))
        return found


def facts(experiment: Experiment, data: Dataset, team: Team) -> dict[str, str]:
    """Return what must be the same in all processes of a team.

    Raises:
        ValueError: for an experiment that cannot be run by several processes.
    """
    if team.size == 1:
        return {}
    if experiment.microscope is not None:
        raise ValueError(
            f"microscope: it asks other rules about whole batches, and {team.size} processes divide them; leave it "
            "out, or run the experiment in one process"
        )
    around = folders.surroundings()
    code = {"revision": around["revision"], **around["versions"], **sources(asdict(experiment))}
    return {
        "configuration": yaml.safe_dump(asdict(experiment)),
        "data": data.checksum,
        "code": "\n".join(f"{name}: {value}" for name, value in code.items()),
    }


def packed(state: dict[str, Any]) -> bytes:
    """Return plain data as bytes."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def loaded(experiment: Experiment, data_dir: str | None) -> Dataset:
    """Load the data of a task; a worker that runs it again with another seed or rule takes them from memory.

    Only a worker, which lives no longer than a comparison, and no task of the user's: those may load other data later.
    """
    if multiprocessing.parent_process() is None or ":" in experiment.task.name:
        return experiment.load(data_dir)
    key = (experiment.task.name, repr(experiment.task.options), data_dir)
    if key not in _LAST:
        _LAST.clear()  # those of one task at a time: a set may be large
        _LAST[key] = experiment.load(data_dir)
    return _LAST[key]


def prepare(experiment: Experiment, data: Dataset, team: Team = ALONE) -> tuple[Trainer, Loader]:
    """Build the trainer and the loader of the training samples.

    Weights are drawn from the seed on the CPU, so that they are the same on every device, and moved; those of spiking
    networks are then scaled on the first batch. Runs that differ only in the rule start from the same weights and see
    the same batches.

    Raises:
        ValueError: for an encoder that does not fit the samples, a schedule or an accumulation that does not fit into
            the run, and a model or a precision that the rule refuses.
    """
    encoder = experiment.encoder.make("encoder")
    check_sequence(encoder, data.sequence)
    network = experiment.network.make(data.shape, data.outputs, experiment.seed).to(experiment.device)
    train = Loader(data.train, encoder, experiment.batch_size, seed=experiment.seed, augment=experiment.augmentation())
    inner = network.inner if isinstance(network, NoisyReadout) else network
    if isinstance(inner, Network):
        first: Batch = next(iter(train))
        calibrate(inner, moved(first.x, experiment.device), experiment.network.rate)
    trainer = Trainer(
        network,
        experiment.make_rule(data),
        seed=experiment.seed,
        health=experiment.health,
        confirm=experiment.confirm,
        schedule=experiment.make_schedule(experiment.epochs * len(train)),
        clip=experiment.clip,
        accumulate=experiment.accumulate,
        precision=experiment.precision,
        team=team,
    )
    trainer.begin(next(iter(train)))
    return trainer, train


def asked(trainer: Trainer) -> dict[str, Any]:
    """Return what the model was asked before its first step, what it answered, and what the rule trains."""
    answers = trainer.answers
    return {
        "confirm": trainer.confirm,
        "answers": None if answers is None else answers.facts(),
        "trains": list(trainer.parameters),
    }


def _look_once(trainer: Trainer, test: Loader, steps: range, ledger: Path) -> dict[str, float]:
    """Evaluate on the test set.

    The evaluation is counted in the file before it starts, so that one that is killed counts, too. A rule with several
    inference modes is evaluated in all of them; measures without the name of a mode are those of the first.
    """
    before = files.read_json(ledger)["evaluations"] if ledger.exists() else 0
    files.write_json(ledger, {"evaluations": before + 1})
    found = trainer.evaluate(test, steps)
    for mode in trainer.rule.credit.inferences[1:]:
        again = trainer.evaluate(test, inference=mode)
        found[f"{measured(again)}_{mode}"] = score(again)
    return found


def evaluation(experiment: Experiment, split: Samples, purpose: str = "evaluation") -> Loader:
    """Return a loader of a split, unshuffled and in large batches; noise differs between purposes."""
    encoder = experiment.encoder.make("encoder")
    return Loader(split, encoder, 500, seed=experiment.seed, shuffle=False, purpose=purpose)


@contextmanager
def own_process(experiment: Experiment) -> Iterator[None]:
    """Run a block with its own number of threads, synapses and global generators, as in a new process.

    A model may draw its initial weights from the global generators of torch, NumPy or Python, so those are seeded from
    the experiment's seed. Everything is restored afterwards, because a worker does one run after another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(experiment.threads)
    try:
        with using(experiment.synapses), Globals(derived(experiment.seed, "process")).inside():
            yield
    finally:
        torch.set_num_threads(before)
