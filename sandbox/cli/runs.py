"""The subcommands that make one run, continue it, report on it, and list runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.cli import comparisons
from sandbox.cli.printing import Bar, percent, say
from sandbox.config.experiment import Experiment
from sandbox.runs import folder as folders
from sandbox.runs import index
from sandbox.runs.folder import load
from sandbox.runs.run import run as run_experiment


def index_(given: Any) -> int:
    """What the index holds, rebuilt from the folders where asked for."""
    root = Path(given.out)
    counts = index.rebuild(root) if given.rebuild else index.counts(root)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    say(given, counts, f"{sum(counts.values())} runs in {root / index.NAME}: {said}")
    return 0


def runs(given: Any) -> int:
    """The runs of the index, or those of one rule, task or status."""
    found = index.rows(Path(given.out), **{name: given[name] for name in index.FILTERS})
    none = f"no such run in {given.out}; `sandbox index --rebuild` looks for lost ones"
    say(given, found, format_runs(found) or none)
    return 0


def format_runs(found: list[dict[str, Any]]) -> str:
    """A line a run."""
    return "\n".join(f"  {r['folder']:<44} {r['status']:<8} {percent(r['test_accuracy'])}" for r in found)


def run(given: Any) -> int:
    """One experiment."""
    experiment: Experiment = given.made
    return _run(experiment, Path(given.out) / experiment.identity, given)


def resume(given: Any) -> int:
    """Whatever is in the folder, continued."""
    folder = Path(given.folder)
    kind = folders.kind_of(folder)
    if kind == "run":
        return _run(load(Experiment, folder), folder, given)
    return comparisons.CONTINUE[kind](folder, given)


def report(given: Any) -> int:
    """The HTML report and the figures."""
    from sandbox.report import write_report

    written = write_report(Path(given.folder))
    say(
        given,
        {"html": str(written.html), "figures": [str(path) for path in written.figures]},
        f"report: {written.html}",
    )
    return 0


def _run(experiment: Experiment, folder: Path, given: Any) -> int:
    with Bar(given.json) as bar:
        result = run_experiment(
            experiment, folder, data_dir=given.data_dir, progress=bar, trackers=comparisons.tracked_by(given)
        )
    text = "\n".join(
        [
            f"{experiment.task.name} with {experiment.rule.name}, seed {experiment.seed}: test accuracy "
            f"{percent(result['test']['accuracy'])} after {result['steps']} steps",
            *(f"health: {line}" for line in result["health"]),
            f"folder: {folder}",
        ]
    )
    say(given, {"folder": str(folder), **result}, text)
    return 0
