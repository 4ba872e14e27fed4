"""Accuracy while learning and accuracy for its cost, with the numbers behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sandbox.comparisons.comparison import as_interval
from sandbox.report.canvas import Curve, axes_for, draw_curves, draw_legend, draw_mean, lines, png
from sandbox.runs.finished import FinishedRun, by_rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Price(NamedTuple):
    """A cost that accuracy is drawn against."""

    key: str  # in the table
    word: str
    unit: str


PRICES = {
    "cost": Price("synaptic_operations", "synaptic operations", "multiply-accumulates"),
    "evaluations": Price("layer_evaluations", "layer evaluations", "a layer, seen by a whole batch"),
}


CURVE_AXES = ("epochs of training", "validation accuracy [%]")


def curves_of(runs: Sequence[FinishedRun]) -> dict[str, Curve]:
    """Validation accuracy against epoch, rule by rule."""
    return {rule: Curve(mine[0].epochs, [run.accuracies for run in mine]) for rule, mine in by_rule(runs).items()}


def learning_curves(runs: Sequence[FinishedRun], title: str, linear: float | None = None) -> bytes:
    """Validation accuracy against epoch: a thin line a seed, a thick one their mean; a PNG."""
    figure, axes = axes_for(title, *CURVE_AXES)
    curves = curves_of(runs)
    handles, note = draw_curves(axes, curves)
    if linear is not None:
        handles.append(_linear(axes, linear))
    draw_legend(figure, handles, list(curves), note)
    return png(figure)


def accuracy_against_cost(table: dict[str, Any], title: str, price: Price) -> bytes:
    """Test accuracy, with its 95 % interval, against what learning took; a PNG."""
    figure, axes = axes_for(title, f"{price.word} while learning [{price.unit}]", "test accuracy [%]")
    handles, costs = [], [as_number(row["cost"][price.key]) for row in table["rows"]]
    for number, row in enumerate(table["rows"]):
        handles += draw_mean(axes, number, costs[number], as_interval(row["accuracy"]))
    whole = [cost for cost in costs if math.isfinite(cost)] or [0.0]
    axes.set_xscale("log" if min(whole) > 0 else "symlog")
    axes.set_xlim(min(whole) / 4, 4 * max(whole) or 1)  # over a decade, so that the axis has labels
    handles.append(_linear(axes, table["linear"]))
    bars = table["rows"][0]["accuracy"][1] is not None
    rules = [row["rule"] for row in table["rows"]]
    draw_legend(figure, handles, rules, "bar: 95 % interval of the mean" if bars else "")
    return png(figure)


def curves_csv(runs: Sequence[FinishedRun]) -> str:
    """Every line of every `metrics.jsonl`, with its rule and seed in front."""
    return lines({"rule": run.rule, "seed": run.seed, **line} for run in runs for line in run.metrics)


def cost_csv(table: dict[str, Any]) -> str:
    """A line a rule: test accuracy with its interval in percent, and the costs."""
    return lines(
        {
            "rule": row["rule"],
            "seeds": row["seeds"],
            **dict(zip(("test_accuracy_percent", "low", "high"), row["accuracy"], strict=True)),
            **row["cost"],
        }
        for row in table["rows"]
    )


def as_number(value: float | None) -> float:
    """NaN where a number is missing."""
    return math.nan if value is None else value


def _linear(axes: Axes, accuracy: float) -> Any:
    label = f"linear classifier, test {accuracy:.2f} %"
    return axes.axhline(accuracy, color="0.25", linestyle=":", linewidth=1.8, label=label)
