"""What every figure shares: axes, the look of a rule, the legend, and the bytes of a PNG and a CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sandbox.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, DPI = (7.0, 4.5), 150  # [inch], dots per inch
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito 2008
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (8, 2)), (0, (5, 1, 1, 1, 1, 1)))  # dotted is the linear classifier
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h")
HOLLOW = {"linestyle": "none", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6}


class Choice(NamedTuple):
    """Something else that a reader may see in the same figure."""

    label: str
    message: str
    data: dict[str, Any]  # what changes, in the words of Plotly.update
    layout: dict[str, Any]


class Plot(NamedTuple):
    """The same figure for a browser: its message, and what plotly.js is handed."""

    message: str
    figure: dict[str, Any]
    choices: tuple[Choice, ...] = ()


class Drawing(NamedTuple):
    """A figure, the numbers behind it, and what it says to those who do not see it."""

    name: str
    png: bytes | None  # None where there is the plot alone
    csv: str
    alt: str
    plot: Plot | None = None


class Curve(NamedTuple):
    """What every seed of a rule did along one axis."""

    x: Sequence[float]
    seeds: list[list[float]]  # [seeds, points]

    def thinned(self, most: int = 200) -> Curve:
        """At most so many points, the first and the last among them."""
        if len(self.x) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self.x) - 1, most).astype(int))
        return Curve([self.x[i] for i in kept], [[seed[i] for i in kept] for seed in self.seeds])


def axes_for(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty figure with its title and the names of its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(plain(title), loc="left", fontsize=10.5, fontweight="bold", wrap=True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_curves(axes: Axes, curves: Mapping[str, Curve]) -> tuple[list[Any], str]:
    """A thin line a seed and a thick one their mean, over whole numbers; the handles, and a note for the legend."""
    from matplotlib.ticker import MaxNLocator

    handles = []
    for number, (x, seeds) in enumerate(curves.values()):
        if len(seeds) > 1:
            axes.plot(x, np.transpose(seeds), color=look(number)["color"], linewidth=0.6, alpha=0.45)
        handles += axes.plot(x, np.mean(seeds, axis=0), **look(number), markevery=max(1, len(x) // 10))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    count = max(len(curve.seeds) for curve in curves.values())
    return handles, f"thick: mean of {count} seeds; thin: every seed" if count > 1 else ""


def draw_mean(axes: Axes, number: int, place: float, interval: Interval, *, across: bool = False) -> list[Any]:
    """A mean with a bar for its interval at a place on the x axis, or across at one on the y axis; the handle."""
    mean, low, high = interval
    if not math.isnan(low):  # drawn from its ends: a BCa interval need not lie around the mean
        bar = ([place, place], [low, high])
        axes.plot(
            *(bar[::-1] if across else bar),
            color=look(number)["color"],
            linewidth=1.2,
            marker="|" if across else "_",
            markersize=9,
        )
    dot = (mean, place) if across else (place, mean)
    return axes.plot(*dot, **{**look(number), **HOLLOW})


def look(number: int) -> dict[str, Any]:
    """Colour, line style and marker of the n-th rule; in grey the last two tell rules apart."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "linewidth": 2.0,
        "markersize": 5.5,
    }


def draw_legend(figure: Figure, handles: list[Any], rules: list[str], note: str) -> None:
    """Below the axes, where it hides nothing; handles beyond the rules bring their own label."""
    labels = [plain(rule) for rule in rules] + [handle.get_label() for handle in handles[len(rules) :]]
    columns = 3 if max(map(len, labels), default=0) <= 31 else 2
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=3.6,
        title=note or None,
        title_fontsize=9,
        alignment="left",
    )
    legend.get_title().set_color("0.35")


def plain(text: str) -> str:
    """A name that is not taken for mathematics."""
    return text.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure's picture; equal figures are equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def lines(rows: Iterable[dict[str, Any]]) -> str:
    """A CSV with the keys of the first row as its head."""
    content = list(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(content[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(content)
    return file.getvalue()
