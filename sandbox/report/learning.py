"""Figures of validation accuracy during learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.comparisons.settings import blocks, searches_of
from sandbox.comparisons.verdicts import standing, verdicts_of
from sandbox.measures import NAMES
from sandbox.report.figures import Curve, Curves, Figure, Line, linear_model
from sandbox.runs.finished import FinishedRun, by_rule
from sandbox.statistics import FEWEST, block_means, interval


def of_comparison(table: dict[str, Any], runs: Sequence[FinishedRun]) -> Figure:
    """Build the figure of all rules' curves, with a line for the linear classifier."""
    return _figure(runs, message(table), linear_model(table))


def of_run(task: str, run: FinishedRun) -> Figure:
    """Build the figure of one run."""
    first, last = run.curve[0], run.curve[-1]
    what = "" if run.measure == "accuracy" else f"{NAMES[run.measure]} "
    rise = f"{run.rule} goes from {what}{first:.1f} % to {last:.1f} % on the validation set"
    return _figure([run], f"{task}: {rise} (seed {run.seed})")


def message(table: dict[str, Any]) -> str:
    """State which rules end above the baseline, by the intervals of the table."""
    return f"{table['task']}: {standing(verdicts_of(table), table['baseline'])}"


def _figure(runs: Sequence[FinishedRun], title: str, line: Line | None = None) -> Figure:
    return Figure(
        "curves",
        title,
        _alt(runs, line),
        [{"rule": run.rule, "seed": run.seed, **metrics} for run in runs for metrics in run.metrics],
        Curves("epochs of training", f"validation {NAMES[runs[0].measure]} [%]", _curves(runs), line, whole=True),
    )


def _curves(runs: Sequence[FinishedRun]) -> dict[str, Curve]:
    """Return the curves of each rule, with the interval of their mean over seeds or searches at each epoch."""
    rules = by_rule(runs)
    of = blocks([searches_of(mine) for mine in rules.values()])
    found = {}
    for rule, mine in rules.items():
        heights = [run.curve for run in mine]
        band = [interval(block_means(epoch, of)) for epoch in zip(*heights, strict=True)]
        few = len(mine if of is None else set(of)) < FEWEST
        found[rule] = Curve(mine[0].epochs, heights, () if few else band)
    return found


def _alt(runs: Sequence[FinishedRun], line: Line | None) -> str:
    """Describe where the curves end."""
    ends = {rule: [run.curve[-1] for run in mine] for rule, mine in by_rule(runs).items()}
    listed = "; ".join(f"{rule} ends at {sum(last) / len(last):.2f}" for rule, last in ends.items())
    dotted = "" if line is None else f" Dotted line: a {line.label.partition(',')[0]} at {line.at:.2f}."
    return f"Validation {NAMES[runs[0].measure]} in percent against epoch. {listed}.{dotted}"
