"""Figures as PNG, drawn by matplotlib."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.machine.text import line
from sandbox.report import figures
from sandbox.report.theme import COLOURS, LINES, MARKERS
from sandbox.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE, DPI = (7.0, 4.5), 150  # [inch], dots per inch
HOLLOW = {"linestyle": "none", "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 1.6}
FAINT: dict[str, Any] = {"alpha": 0.45, "markersize": 5, "markeredgewidth": 0}
DOTTED: dict[str, Any] = {"color": "0.25", "linestyle": ":", "linewidth": 1.8}
BOLD: dict[str, Any] = {"fontsize": 10.5, "fontweight": "bold"}


def png(figure: figures.Figure) -> bytes:
    """Draw a figure as PNG; equal figures give equal bytes."""
    file = io.BytesIO()
    drawn = RENDERERS[type(figure.content)](figure.content, plain(figure.title))
    # By the canvas: `savefig` draws twice. Without its "Software" entry, which names the version of matplotlib, a file
    # depends on the figure alone.
    canvas: Any = drawn.canvas
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _curves(content: figures.Curves, title: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, axes = _empty(title, content.x, content.y)
    handles, note = _draw_curves(axes, content.curves, content.every)
    if content.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if content.limits:
        axes.set_ylim(*content.limits)
    if content.line is not None:
        handles.append(axes.axhline(content.line.at, label=plain(content.line.label), **DOTTED))
    _legend(figure, handles, list(content.curves), content.note or note)
    return figure


def _panels(content: figures.Panels, title: str) -> Figure:
    from matplotlib.ticker import MaxNLocator

    figure, _ = _empty("")
    figure.clear()
    figure.set_size_inches(SIZE[0], 1.2 + 1.6 * len(content.layers))
    figure.suptitle(title, x=0.01, ha="left", **BOLD)
    panels = np.atleast_1d(figure.subplots(len(content.layers), sharex=True, sharey=True))
    for (layer, curves), axes in zip(content.layers.items(), panels, strict=True):
        axes.set_title(plain(layer), loc="left", fontsize=9)
        axes.set_ylabel(content.y)
        axes.axhline(0, color="0.25", linestyle=":", linewidth=1.2)
        axes.set_ylim(*content.limits)
        _bare(axes)
        handles, note = _draw_curves(axes, curves)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[-1].set_xlabel(content.x)
    _legend(figure, handles, list(curves), note)
    return figure


def _dots(content: figures.Dots, title: str) -> Figure:
    figure, axes = _empty(title, content.x)
    for row, (rule, mean) in enumerate(content.means.items()):
        number, seeds = content.looks[row], content.seeds[rule]
        if len(seeds) > 1:  # below the bar, which would otherwise hide them
            axes.plot(seeds, [row + 0.2] * len(seeds), "o", color=look(number)["color"], **FAINT)
        _draw_mean(axes, number, row, mean, across=True)
    axes.set_yticks(range(len(content.means)), [plain(rule) for rule in content.means])
    figure.set_size_inches(SIZE[0], max(SIZE[1], 1.6 + 0.19 * len(content.means)))  # so that names do not touch
    axes.set_ylim(len(content.means) - 0.5, -0.5)
    line_ = content.line
    handles = [] if line_ is None else [axes.axvline(line_.at, label=plain(line_.label), **DOTTED)]
    if handles or content.note:
        _legend(figure, handles, [], content.note)
    return figure


def _scatter(content: figures.Scatter, title: str) -> Figure:
    figure, axes = _empty(title, content.x, content.y)
    handles = []
    for number, (rule, mean) in enumerate(content.means.items()):
        handles += _draw_mean(axes, number, content.costs[rule], mean)
    low, high = min(content.known), max(content.known)
    axes.set_xscale("log" if low > 0 else "symlog")
    axes.set_xlim(low / 4, 4 * high or 1)  # more than a decade, so that the axis has labels
    if content.line is not None:
        handles.append(axes.axhline(content.line.at, label=plain(content.line.label), **DOTTED))
    _legend(figure, handles, list(content.means), content.note)
    return figure


def _matrix(content: figures.Matrix, title: str) -> Figure:
    figure, axes = _empty(title)
    axes.grid(visible=False)
    columns, crowded = len(content.x), len(content.x) > 8 and not content.bar
    size = 5.5 if crowded else 10 if content.bar else 9
    reach = content.largest if content.bar else 2 * content.largest  # pale colours where no bar explains them
    image = axes.imshow(np.array(content.values), cmap="PuOr", vmin=-reach, vmax=reach, aspect="auto")
    turn = 90 if crowded else 20 if columns > 3 else 0
    axes.set_xticks(range(columns), [plain(name) for name in content.x], fontsize=size, rotation=turn)
    axes.set_yticks(range(len(content.y)), [plain(name) for name in content.y], fontsize=size)
    for (row, column), value in np.ndenumerate(content.values):
        colour = "white" if abs(value) > 0.6 * reach else "black"
        axes.text(column, row, content.text[row][column], ha="center", va="center", fontsize=size, color=colour)
    if content.bar:
        figure.set_size_inches(SIZE[0], 1.8 + 0.5 * len(content.y))
        figure.colorbar(image, label=content.bar)
    return figure


RENDERERS: dict[type, Callable[[Any, str], Figure]] = {
    figures.Curves: _curves,
    figures.Panels: _panels,
    figures.Dots: _dots,
    figures.Scatter: _scatter,
    figures.Matrix: _matrix,
}


def _empty(title: str, x: str = "", y: str = "") -> tuple[Figure, Axes]:
    """Build a figure with a title and labelled axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", wrap=True, **BOLD)
    axes.set_xlabel(plain(x))
    axes.set_ylabel(plain(y))
    axes.set_axisbelow(True)
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    """Draw a pale grid, and remove the frame at the top and on the right."""
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curves(axes: Axes, curves: Mapping[str, figures.Curve], every: int | None = None) -> tuple[list[Any], str]:
    """Draw the seeds thin, their mean thick, and its intervals as a band; return the handles and a note on these."""
    handles = []
    for number, (x, seeds, band) in enumerate(curves.values()):
        if band:
            ends = [each.low for each in band], [each.high for each in band]
            axes.fill_between(x, *ends, color=look(number)["color"], alpha=0.15, linewidth=0)
        if len(seeds) > 1:
            axes.plot(x, np.transpose(seeds), color=look(number)["color"], linewidth=0.6, alpha=0.45)
        handles += axes.plot(x, np.mean(seeds, axis=0), **look(number), markevery=every or max(1, len(x) // 10))
    count = max(len(curve.seeds) for curve in curves.values())
    drawn = any(math.isfinite(each.low) for curve in curves.values() for each in curve.band)
    more = "; band: 95 % interval of the mean" if drawn else ""
    return handles, f"thick: mean of {count} seeds; thin: every seed{more}" if count > 1 else ""


def _draw_mean(axes: Axes, number: int, place: float, interval: Interval, *, across: bool = False) -> list[Any]:
    """Draw a mean with its interval at `place` on the x axis, or on the y axis if `across`; return the handle."""
    mean, low, high = interval
    if not math.isnan(low):  # drawn from its ends: a BCa interval need not contain the mean
        bar = ([place, place], [low, high])
        cap = "|" if across else "_"
        axes.plot(*(bar[::-1] if across else bar), color=look(number)["color"], linewidth=1.2, marker=cap, markersize=9)
    dot = (mean, place) if across else (place, mean)
    return axes.plot(*dot, **{**look(number), **HOLLOW})


def _legend(figure: Figure, handles: list[Any], rules: list[str], note: str) -> None:
    """Put the legend below the axes, where it hides nothing; handles after those of the rules have their own label."""
    labels = [plain(rule) for rule in rules] + [handle.get_label() for handle in handles[len(rules) :]]
    legend = figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=3 if max(map(len, labels), default=0) <= 31 else 2,
        frameon=False,
        fontsize=9,
        handlelength=3.6,
        title=note or None,
        title_fontsize=9,
        alignment="left",
    )
    legend.get_title().set_color("0.35")


def look(number: int) -> dict[str, Any]:
    """Return the colour, line style and marker of the n-th rule; line style and marker also work in grey."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)][0],
        "marker": MARKERS[number % len(MARKERS)][0],
        "linewidth": 2.0,
        "markersize": 5.5,
    }


def plain(text: str) -> str:
    """Escape dollar signs, which matplotlib would read as mathematics, and what is hidden."""
    return line(text).replace("$", r"\$")
