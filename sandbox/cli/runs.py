"""The subcommands that run one experiment, resume a folder, and write its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox import executors
from sandbox.cli import comparisons
from sandbox.cli.executing import executor_of
from sandbox.cli.options import OK
from sandbox.cli.printing import Bar, begin, percent, say
from sandbox.config.experiment import Experiment
from sandbox.measures import NAMES, measured, score
from sandbox.runs import folder as folders
from sandbox.runs.folder import load
from sandbox.runs.job import Job, run_elsewhere
from sandbox.runs.run import run as run_experiment


def run(given: Any) -> int:
    """Run one experiment."""
    experiment: Experiment = given.made
    experiment.check()
    return _run(experiment, Path(given.out) / experiment.identity, given)


def resume(given: Any) -> int:
    """Continue the run, comparison, grid or tuning in a folder."""
    folder = Path(given.folder)
    kind = folders.kind_of(folder)
    if kind == "run":
        return _run(load(Experiment, folder), folder, given)
    return comparisons.CONTINUE[kind](folder, given)


def report(given: Any) -> int:
    """Write the HTML report and the figures."""
    from sandbox.report import write_report

    written = write_report(Path(given.folder))
    facts = {"html": str(written.html), "figures": [str(path) for path in written.figures]}
    say(given, facts, f"report: {written.html}")
    return OK


def _run(experiment: Experiment, folder: Path, given: Any) -> int:
    trackers, place = comparisons.tracked_by(given), begin(given, folder)
    where = executor_of(given) if "executor" in given else "local"
    with Bar(given.json) as bar:
        if where == "local":
            result = run_experiment(experiment, place, data_dir=given.data_dir, progress=bar, trackers=trackers)
        else:
            job = Job(experiment, place, given.data_dir, tuple(trackers))
            result = run_elsewhere(job, executors.make(where, given.jobs), bar)
    text = "\n".join(
        [
            f"{experiment.task.name} with {experiment.rule.title}, seed {experiment.seed}: test "
            f"{NAMES[measured(result['test'])]} {percent(score(result['test']))} after {result['steps']} steps",
            *(f"health: {line}" for line in result["health"]),
            f"folder: {folder}",
        ]
    )
    say(given, {"folder": str(folder), **result}, text)
    return OK
