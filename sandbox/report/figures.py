"""Two figures, accuracy while learning and accuracy for its cost, with the numbers behind them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sandbox.report.reading import FinishedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, DPI = (7.0, 4.5), 150  # [inch], dots per inch
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito 2008
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))  # dotted is the linear classifier
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")


class Drawing(NamedTuple):
    """A figure, the numbers behind it, and what it says to those who do not see it."""

    name: str
    png: bytes
    csv: str
    alt: str


def learning_curves(runs: Sequence[FinishedRun], title: str, linear: float | None = None) -> bytes:
    """Validation accuracy against epoch: a thin line a seed, a thick one their mean; a PNG."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(title, "epochs of training", "validation accuracy [%]")
    rules = list(dict.fromkeys(run.rule for run in runs))
    handles = []
    for number, rule in enumerate(rules):
        mine = [run for run in runs if run.rule == rule]
        epochs, accuracies = mine[0].epochs, np.array([run.accuracies for run in mine])  # [seeds, lines]
        colour = COLOURS[number % len(COLOURS)]
        if len(mine) > 1:
            axes.plot(epochs, accuracies.T, color=colour, linewidth=0.6, alpha=0.45)
        handles += axes.plot(epochs, accuracies.mean(axis=0), **_look(number), markevery=max(1, len(epochs) // 10))
    if linear is not None:
        handles.append(_linear(axes, linear))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    seeds = len(runs) // len(rules)
    _legend(figure, handles, rules, f"thick: mean of {seeds} seeds; thin: every seed" if seeds > 1 else "")
    return _png(figure)


def accuracy_against_cost(table: dict[str, Any], title: str) -> bytes:
    """Test accuracy, with its 95 % interval, against the synaptic operations that learning took; a PNG."""
    figure, axes = _axes(title, "synaptic operations while learning [multiply-accumulates]", "test accuracy [%]")
    handles, costs = [], [row["cost"]["synaptic_operations"] for row in table["rows"]]
    for number, row in enumerate(table["rows"]):
        mean, low, high = row["accuracy"]
        look = {
            **_look(number),
            "linestyle": "none",
            "markersize": 7,
            "markerfacecolor": "none",
            "markeredgewidth": 1.6,
        }
        if low is not None:  # drawn from its ends: a BCa interval need not lie around the mean
            axes.plot([costs[number]] * 2, [low, high], color=look["color"], linewidth=1.2, marker="_", markersize=9)
        handles += axes.plot(costs[number], mean, **look)
    axes.set_xscale("log" if min(costs) > 0 else "symlog")
    axes.set_xlim(min(costs) / 4, 4 * max(costs) or 1)  # over a decade, so that the axis has labels
    handles.append(_linear(axes, table["linear"]))
    bars = table["rows"][0]["accuracy"][1] is not None
    _legend(figure, handles, [row["rule"] for row in table["rows"]], "bar: 95 % interval of the mean" if bars else "")
    return _png(figure)


def curves_csv(runs: Sequence[FinishedRun]) -> str:
    """Every line of every `metrics.jsonl`, with its rule and seed in front."""
    return _csv({"rule": run.rule, "seed": run.seed, **line} for run in runs for line in run.metrics)


def cost_csv(table: dict[str, Any]) -> str:
    """A line a rule: test accuracy with its interval in percent, and the costs."""
    return _csv(
        {
            "rule": row["rule"],
            "seeds": row["seeds"],
            **dict(zip(("test_accuracy_percent", "low", "high"), row["accuracy"], strict=True)),
            **row["cost"],
        }
        for row in table["rows"]
    )


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    content = list(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(content[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(content)
    return file.getvalue()


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(_plain(title), loc="left", fontsize=10.5, fontweight="bold", wrap=True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _look(number: int) -> dict[str, Any]:
    """Colour, line style and marker of the n-th rule; in grey the last two tell rules apart."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 2.0,
        "markersize": 5.5,
    }


def _linear(axes: Axes, accuracy: float) -> Any:
    label = f"linear classifier, test {accuracy:.2f} %"
    return axes.axhline(accuracy, color="0.25", linestyle=":", linewidth=1.8, label=label)


def _legend(figure: Figure, handles: list[Any], rules: list[str], note: str) -> None:
    """Below the axes, where it hides nothing; handles beyond the rules bring their own label."""
    labels = [_plain(rule) for rule in rules] + [handle.get_label() for handle in handles[len(rules) :]]
    columns = 3 if max(map(len, labels)) <= 31 else 2
    legend = figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=9,
                           handlelength=3.6, title=note or None, title_fontsize=9, alignment="left")  # fmt: skip
    legend.get_title().set_color("0.35")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a name is not mathematics


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})  # equal figures are equal bytes
    return file.getvalue()
