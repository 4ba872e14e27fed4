"""Figures of validation accuracy during learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sandbox.report.figures import Curve, Curves, Figure, linear_classifier
from sandbox.report.wording import standing, verdicts_of
from sandbox.runs.finished import FinishedRun, by_rule


def of_comparison(table: dict[str, Any], runs: Sequence[FinishedRun]) -> Figure:
    """Build the figure of all rules' curves, with a line for the linear classifier."""
    return _figure(runs, message(table), table["linear"])


def of_run(task: str, run: FinishedRun) -> Figure:
    """Build the figure of one run."""
    first, last = run.accuracies[0], run.accuracies[-1]
    rise = f"{run.rule} goes from {first:.1f} % to {last:.1f} % on the validation set"
    return _figure([run], f"{task}: {rise} (seed {run.seed})")


def message(table: dict[str, Any]) -> str:
    """State which rules end above the baseline, by the intervals of the table."""
    return f"{table['task']}: {standing(verdicts_of(table), table['baseline'])}"


def _figure(runs: Sequence[FinishedRun], title: str, linear: float | None = None) -> Figure:
    curves = {rule: Curve(mine[0].epochs, [run.accuracies for run in mine]) for rule, mine in by_rule(runs).items()}
    line = None if linear is None else linear_classifier(linear)
    return Figure(
        "curves",
        title,
        _alt(runs, linear),
        [{"rule": run.rule, "seed": run.seed, **metrics} for run in runs for metrics in run.metrics],
        Curves("epochs of training", "validation accuracy [%]", curves, line, whole=True),
    )


def _alt(runs: Sequence[FinishedRun], linear: float | None) -> str:
    """Describe where the curves end."""
    ends = {rule: [run.accuracies[-1] for run in mine] for rule, mine in by_rule(runs).items()}
    listed = "; ".join(f"{rule} ends at {sum(last) / len(last):.2f}" for rule, last in ends.items())
    line = "" if linear is None else f" Dotted line: a linear classifier at {linear:.2f}."
    return f"Validation accuracy in percent against epoch. {listed}.{line}"
