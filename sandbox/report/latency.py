"""Figures at fewer time steps: accuracy against steps, and each measure rule by rule, with the numbers behind them."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.report.canvas import Curve, axes_for, draw_curves, draw_legend, draw_mean, lines, look, plain, png
from sandbox.report.measures import Measure, intervals, value
from sandbox.runs.finished import FinishedRun, by_rule

STEP_AXES = ("time steps used", "test accuracy [%]")


def curves_of(runs: Sequence[FinishedRun]) -> dict[str, Curve]:
    """Test accuracy against steps, rule by rule."""
    return {
        rule: Curve(list(mine[0].accuracy_at), [list(run.accuracy_at.values()) for run in mine])
        for rule, mine in by_rule(runs).items()
    }


def accuracy_against_steps(runs: Sequence[FinishedRun], title: str) -> bytes:
    """Test accuracy from the first k steps against k: a thin line a seed, a thick one their mean; a PNG."""
    figure, axes = axes_for(title, *STEP_AXES)
    curves = curves_of(runs)
    handles, note = draw_curves(axes, curves)
    draw_legend(figure, handles, list(curves), note)
    return png(figure)


def measure_by_rule(runs: Sequence[FinishedRun], measure: Measure, title: str) -> bytes:
    """A line of the figure a rule: the mean of a measure with its 95 % interval, and faintly every seed; a PNG."""
    figure, axes = axes_for(title, measure.label, "")
    found = intervals(runs, measure)
    for place, (rule, mine) in enumerate(by_rule(runs).items()):
        if len(mine) > 1:
            seeds = [value(run, measure) for run in mine]
            below = [place + 0.2] * len(seeds)  # where the bar does not hide them
            axes.plot(seeds, below, "o", color=look(place)["color"], alpha=0.45, markersize=5, markeredgewidth=0)
        draw_mean(axes, place, place, found[rule], across=True)
    axes.set_yticks(range(len(found)), [plain(rule) for rule in found])
    axes.set_ylim(len(found) - 0.5, -0.5)  # the first rule on top, as in the table
    if len(runs) > len(found):
        draw_legend(figure, [], [], "bar: 95 % interval of the mean; faint: every seed")
    return png(figure)


def latency_csv(runs: Sequence[FinishedRun]) -> str:
    """A line a rule, seed and number of steps: the test accuracy in percent."""
    return lines(
        {"rule": run.rule, "seed": run.seed, "steps": steps, "test_accuracy_percent": accuracy}
        for run in runs
        for steps, accuracy in run.accuracy_at.items()
    )


def measure_csv(runs: Sequence[FinishedRun], measure: Measure) -> str:
    """A line a rule and seed: the measure in its unit, and the mean of the rule with its interval."""
    found = intervals(runs, measure)
    return lines(
        {"rule": run.rule, "seed": run.seed, measure.name: value(run, measure), **found[run.rule]._asdict()}
        for run in runs
    )
