"""Run one experiment: build it from its configuration, train, evaluate the test set once, and write a folder."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from rules import HealthWarning, NonFinite, Trainer, Unhealthy
from rules.batches import fitted
from rules.contract import Batch
from rules.diagnostics.normalised import said_of_lag
from rules.forward import run_model
from rules.seeds import derived, seeded
from rules.spikes.surrogate import differentiating
from rules.team import ALONE, Team
from rules.untouched import untouched
from sandbox.config.experiment import Experiment
from sandbox.config.registry import made
from sandbox.executors.base import free
from sandbox.machine import devices, files
from sandbox.machine.memory import is_exhausted
from sandbox.machine.text import line
from sandbox.networks.calibration import firing_report
from sandbox.runs import attempts, index, signs
from sandbox.runs import folder as folders
from sandbox.runs.arrays import attached, keep
from sandbox.runs.book import Book, RunFailed
from sandbox.runs.continuing import changed_since, continued, marked, require_sound
from sandbox.runs.following import FINISHED, LEARN, facts, follow, packed
from sandbox.runs.inherited import heritage, resolved
from sandbox.runs.judging import judged, look_once
from sandbox.runs.preparing import asked, evaluation, loaded, own_process, prepare
from sandbox.runs.seal import write_seal
from sandbox.runs.signs import FAILED, REFUSED
from sandbox.tasks.encode import is_timed
from sandbox.tasks.loader import Loader
from sandbox.tracking import Tracker
from sandbox.tracking.together import Tracked

Progress = Callable[[int, int], None]  # steps done, total steps
HEAD = 10_000  # training samples that are evaluated; they give an accuracy to half a percentage point


def run(
    experiment: Experiment,
    folder: Path | str,
    *,
    data_dir: str | None = None,
    progress: Progress | None = None,
    patience: float = 0.0,
    trackers: Sequence[str | Tracker] = (),
    accept_changes: bool = False,
    fence: Callable[[], None] = free,
    indexed: bool = True,
    parents: bool = True,
    team: Team = ALONE,
) -> dict[str, Any]:
    """Run an experiment in a folder, continuing bit for bit where an earlier attempt was stopped.

    The folder gets `config.yaml`, `provenance.json`, `metrics.jsonl` (a line per epoch), `checkpoint.pt`,
    `model.json` (what the model was asked before its first step, and what the rule trains), `result.json`, `test.json`
    (how often the test set was evaluated), `timing.json` and `seal.json` (the checksums of the others); with a
    microscope also `microscope.jsonl`. The test set is evaluated once, after the last epoch. A finished run returns its
    result without evaluating it again.

    Args:
        experiment: what to run.
        folder: where to run it; created if missing.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        progress: called with the steps done and the total number of steps.
        patience: how long to wait for another process that uses the folder [s], 0 by default.
        trackers: names or instances. They get every line of metrics, but nothing of a run that was already finished.
            They are not part of the configuration; if one fails, the run continues.
        accept_changes: go on where data, own code, this project's revision or the mode of the kernels have changed
            since the run was begun, and mark it in provenance and tables, instead of raising ValueError.
        fence: called before each write while learning; it raises where another process has taken the run over.
        indexed: whether to write the run into the index; a worker leaves that to the process that started it.
        parents: whether to make the folders above `folder`, too, if they are missing.
        team: processes that call this with the same arguments and run the experiment together. The first one writes
            the folder, evaluates, tracks and reports progress. By default this process runs it alone.

    Returns: the content of `result.json`.

    Raises:
        ImportError: for a tracker whose library is missing.
        FolderInUse: if another process uses the folder.
        ValueError: for a folder with another configuration, or begun with other data, another version of the user's own
            code or of this project, or other kernels; for a damaged folder, and for a checkpoint of another run; for a
            device or kernels that are not here, before anything is written.
        RunFailed: for a NaN or an infinity; the message names the last good checkpoint. Also for a checkpoint that
            cannot be read.
        PeerFailed: if another process of the team has failed or ended.
    """
    with team.reporting():
        if not team.first:
            return follow(experiment, Path(folder), data_dir, team)
        how = How(
            data_dir,
            progress or (lambda done, total: None),
            accept_changes,
            fence,
            index.record if indexed else _unnoted,
            parents,
            team,
        )
        return _lead(experiment, Path(folder), patience, made(trackers), how)


class How(NamedTuple):
    """How an experiment is run; nothing here changes its result. The arguments are those of `run`."""

    data_dir: str | None
    progress: Progress
    accept_changes: bool
    fence: Callable[[], None]
    noted: Callable[..., None]  # writes the status of the run into the index
    parents: bool
    team: Team


def _lead(experiment: Experiment, folder: Path, patience: float, active: list[Tracker], how: How) -> dict[str, Any]:
    """Run the experiment as the only process, or the first of a team."""
    if not (folder / "result.json").exists():
        devices.require(experiment.device)
    with folders.locked(folder, patience, how.parents), own_process(experiment):
        folders.check_resumable(folder)
        experiment = resolved(attached(experiment, folder), folder)
        now = attempts.surroundings_of(experiment)
        folders.write_config(folder, "run", asdict(experiment))
        result = folder / "result.json"
        if result.exists():
            require_sound(folder, experiment, now, how.data_dir, how.accept_changes)
            how.team.hear(FINISHED)
        else:
            for name in (FAILED, REFUSED):
                (folder / name).unlink(missing_ok=True)
            with failures(folder, experiment, how.noted):
                before = continued(folder, experiment)
                attempts.require_unchanged(folder, changed_since(folder, before, now), how.accept_changes)
            keep(experiment, folder)
            how.team.hear(LEARN)
            with Tracked(active, folder, asdict(experiment)) as tracked, failures(folder, experiment, how.noted):
                learned = _learn(experiment, folder, how, tracked, before, now)
                tracked.end("finished", learned)
            how.fence()
            text = files.as_json(learned)
            write_seal(folder, experiment.identity, {"result.json": text})
            files.write_atomically(result, text)
        found: dict[str, Any] = files.read_json(result)
        how.team.hear(json.dumps(found).encode())
        how.progress(found["steps"], found["steps"])
        how.noted(folder, experiment, "done", found["test"])
        return found


def _unnoted(folder: Path, experiment: Experiment, status: str, test: Mapping[str, Any] | None = None) -> None:
    """Write into no index: in a worker."""


@contextmanager
def failures(folder: Path, experiment: Experiment, noted: Callable[..., None] = index.record) -> Iterator[None]:
    """Record in the folder and in the index that a run failed with an exception; Ctrl-C does not count as a failure.

    What is noticed before a step is taken, bad input or too little memory, does not make a run fail: it was refused.
    """
    before = signs.progress(folder)
    try:
        yield
    except (Exception, SystemExit) as error:
        unfit = isinstance(error, (ValueError, TypeError, ImportError, FileNotFoundError)) or is_exhausted(error)
        refused = unfit and signs.progress(folder) == before
        with suppress(OSError):  # the disk may be full
            text = f"{error}\n"
            files.write_atomically(folder / (REFUSED if refused else FAILED), text.encode(errors="backslashreplace"))
        if signs.begun(folder):
            noted(folder, experiment, "refused" if refused else "failed")
        raise


def _learn(
    experiment: Experiment,
    folder: Path,
    how: How,
    tracked: Tracked,
    before: dict[str, Any] | None,
    now: dict[str, Any],
) -> dict[str, Any]:
    """Learn from a checkpoint, or from the beginning where `before` is None, and return the result."""
    data = loaded(experiment, how.data_dir)
    now = {**now, "data_sha256": data.checksum}
    changed = changed_since(folder, before, now)
    attempts.require_unchanged(folder, changed, how.accept_changes)
    marks = sorted({*marked(before), *changed})
    how.team.require_same(facts(experiment, data, how.team))
    trainer, train = prepare(experiment, data, how.team, heritage(experiment, folder, data, how.data_dir))
    files.write_json(folder / "model.json", asked(trainer))
    microscope = None if experiment.microscope is None else experiment.microscope.make()
    validation = evaluation(experiment, data.validation, "validation")
    test = evaluation(experiment, data.test, "test")
    read = partial(fit_read_out, trainer, evaluation(experiment, data.train.first(HEAD), "read-out"))
    said = {"identity": experiment.identity, "config_sha256": experiment.digest, "changed": marks, **now}
    book = Book(folder, trainer, tracked, experiment.batch_size, said, how.fence, experiment.keep == "best")
    if before is None:
        book.begin()
    else:
        book.resume(before)
    how.team.hear(packed(trainer.state_dict()) if before is not None and how.team.size > 1 else b"")
    attempts.begin(folder, now, None if before is None else trainer.steps, marks)
    how.noted(folder, experiment, "running")  # not before: what was refused leaves nothing behind
    tracked.begin(book.metrics)
    if before is None:
        read()
        book.note(epoch=0, validation=judged(trainer, validation, data.tokenizer))
    total = experiment.epochs * len(train)
    shown = train if microscope is None else microscope.watch(trainer, train, book.look)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HealthWarning)  # printed below, and kept in the book
            for info in trainer.fit(shown, experiment.epochs - trainer.epoch):
                for finding in info.health:
                    tqdm.write(line(f"health at step {info.step} of {folder.name}: {finding}"), file=sys.stderr)
                book.add(info)
                if trainer.position == len(train):
                    read()
                    book.note(epoch=info.epoch + 1, validation=judged(trainer, validation, data.tokenizer))
                elif info.step % experiment.checkpoint_steps == 0:
                    book.save()
                how.progress(info.step, total)
    except (NonFinite, Unhealthy) as error:
        raise RunFailed(f"{error}. The last good checkpoint, after step {book.saved}, is {book.checkpoint}") from error
    taken = trainer.steps
    if book.best is not None:
        trainer.load_state_dict(book.best["trainer"])
    if (lag := said_of_lag(trainer.model)) is not None:
        tqdm.write(line(f"health at step {taken} of {folder.name}: {lag}"), file=sys.stderr)
    how.fence()
    files.write_json(folder / "timing.json", {"seconds": book.seconds, "peak_bytes": book.bill.peak_bytes})
    sample = next(iter(validation))
    steps = len(sample.x) // experiment.network.rebin if is_timed(validation.encoder) else 1
    whole = data.test.by_step or steps_put_out(trainer, sample) != steps  # then no answer is that of the first steps
    seen = range(0) if whole else range(1, steps + 1)
    tested, chance = look_once(trainer, test, seen, folder / "test.json", data.tokenizer, taken)
    told = [str(each) for each in chance]
    for each in told:
        tqdm.write(line(f"health at step {taken} of {folder.name}: {each}"), file=sys.stderr)
    return {
        "cost": book.bill.facts(),
        "firing": firing_report(trainer.model, fitted(sample, trainer.model, next(trainer.model.parameters())).x),
        "health": [*book.health, *told],
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "parameters_trained": sum(p.numel() for p in trainer.parameters.values()),
        "steps": taken,
        **({} if book.best is None else {"kept_epoch": book.best["epoch"]}),
        "train": judged(trainer, evaluation(experiment, data.train.first(HEAD), "training samples"), data.tokenizer),
        "test": tested,
        "validation": judged(trainer, validation, data.tokenizer),
    }


def fit_read_out(trainer: Trainer, samples: Loader) -> None:
    """Fit a read-out to training samples, if the objective has one: before each evaluation."""
    if not trainer.rule.objective.teaches:
        trainer.fit_read_out(samples)


def steps_put_out(trainer: Trainer, batch: Batch) -> int:
    """Return the number of steps of the output for a batch; the model and its random numbers stay as they were."""
    model, draws = trainer.model, seeded(trainer.seed, "steps put out")
    with (
        untouched(model, seed=derived(trainer.seed, "steps put out", "globals")),
        differentiating(generator=draws, evaluating=True),
    ):
        model.eval()
        return len(run_model(model, fitted(batch, model, next(model.parameters()))).output)
