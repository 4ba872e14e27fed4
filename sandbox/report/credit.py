"""Figures of the credit microscope: cosine while learning, layer by layer, and where it ended, with the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sandbox.microscope import Row
from sandbox.report import interactive
from sandbox.report.canvas import DPI, SIZE, Curve, Drawing, Plot, axes_for, draw_curves, draw_legend, lines, plain, png
from sandbox.runs.finished import FinishedRun, by_rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


STEPS = "steps of training before the look"


class View(NamedTuple):
    """What there is to draw of one reference."""

    reference: str
    layers: list[str]
    runs: list[FinishedRun]  # those that were looked at

    def curve(self, rule: str, layer: str) -> Curve:
        """Cosine against steps taken, a line a seed; NaN where there is none."""
        seeds = [self._rows(run, layer) for run in by_rule(self.runs)[rule]]
        steps = sorted(set.intersection(*({row.step for row in rows} for rows in seeds)))
        return Curve(steps, [[_number(row) for row in rows if row.step in steps] for rows in seeds])

    def last(self, rule: str, layer: str) -> float:
        """The mean over the seeds of the cosine at each run's last look; NaN where one has none."""
        ends = [rows[-1] for run in by_rule(self.runs)[rule] if (rows := self._rows(run, layer))]
        return float(np.mean([_number(row) for row in ends])) if ends else math.nan

    def _rows(self, run: FinishedRun, layer: str) -> list[Row]:
        return [row for row in run.looks if row.layer == layer and row.reference == self.reference]


def credit_drawings(runs: Sequence[FinishedRun], task: str) -> list[Drawing]:
    """Two drawings for each reference; none where no run was looked at through a microscope."""
    looked = [run for run in runs if run.looks]
    rows = [row for run in looked for row in run.looks]
    layers = list(dict.fromkeys(row.layer for row in rows))
    return [
        drawing
        for reference in dict.fromkeys(row.reference for row in rows)
        for drawing in _both(View(reference, layers, looked), task)
    ]


def _both(view: View, task: str) -> list[Drawing]:
    slug = view.reference.replace(" ", "_")
    message = f"{task}: does credit point along {view.reference}? 1 is along it, 0 across"
    curves = {f"{rule}, {layer}": view.curve(rule, layer) for rule in by_rule(view.runs) for layer in view.layers}
    return [
        Drawing(
            f"credit_{slug}",
            cosine_curves(view, message),
            credit_csv(view),
            f"Cosine of credit with {view.reference} against steps, layer by layer. {_told(view)}",
            Plot(message, interactive.curves(curves, STEPS, "cosine", yaxis={"range": [-1.08, 1.08]})),
        ),
        Drawing(
            f"credit_map_{slug}",
            cosine_map(view, f"{task}: cosine of credit with {view.reference} at the last look"),
            map_csv(view),
            f"Cosine of credit with {view.reference} at the last look, layers by rules. {_told(view)}",
        ),
    ]


def cosine_curves(view: View, title: str) -> bytes:
    """A panel a layer, in each a thick line a rule and a thin one a seed; a PNG."""
    rules = list(by_rule(view.runs))
    figure, panels = _panels(title, view.layers)
    handles: list[object] = []
    note = ""
    for layer, axes in zip(view.layers, panels, strict=True):
        handles, note = draw_curves(axes, {rule: view.curve(rule, layer) for rule in rules})
    draw_legend(figure, handles, rules, note)
    return png(figure)


def _panels(title: str, layers: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """One above the other, on one axis of steps and one scale of cosines."""
    figure, _ = axes_for(title, "", "")
    figure.clear()
    figure.set_size_inches(SIZE[0], 1.2 + 1.6 * len(layers))
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    panels = list(np.atleast_1d(figure.subplots(len(layers), sharex=True, sharey=True)))
    for layer, axes in zip(layers, panels, strict=True):
        axes.set_title(plain(layer), loc="left", fontsize=9)
        axes.set_ylabel("cosine")
        axes.grid(color="0.9", linewidth=0.8)
        axes.axhline(0, color="0.25", linestyle=":", linewidth=1.2)
        axes.set_ylim(-1.08, 1.08)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(STEPS)
    return figure, panels


def cosine_map(view: View, title: str) -> bytes:
    """Layers by rules, each cell with its number; a dash where there is no cosine; a PNG."""
    rules = list(by_rule(view.runs))
    values = np.array([[view.last(rule, layer) for rule in rules] for layer in view.layers])
    figure, axes = axes_for(title, "", "")
    figure.set_size_inches(SIZE[0], 1.8 + 0.5 * len(view.layers))
    axes.grid(visible=False)
    image = axes.imshow(values, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(rules)), [plain(rule) for rule in rules], rotation=20 if len(rules) > 3 else 0)
    axes.set_yticks(range(len(view.layers)), [plain(layer) for layer in view.layers])
    for (row, column), value in np.ndenumerate(values):
        dark = not math.isnan(value) and abs(value) > 0.6
        axes.text(
            column,
            row,
            "–" if math.isnan(value) else f"{value:.2f}",
            ha="center",
            va="center",
            color="white" if dark else "black",
        )
    figure.colorbar(image, label="cosine")
    figure.set_dpi(DPI)
    return png(figure)


def credit_csv(view: View) -> str:
    """A line a rule, seed, step and layer: everything that the microscope wrote of this reference."""
    return lines(
        {"rule": run.rule, "seed": run.seed, **row._asdict()}
        for run in view.runs
        for row in run.looks
        if row.reference == view.reference
    )


def map_csv(view: View) -> str:
    """A line a layer and rule: the mean cosine at the last look."""
    return lines(
        {"layer": layer, "rule": rule, "cosine": value if not math.isnan(value := view.last(rule, layer)) else None}
        for layer in view.layers
        for rule in by_rule(view.runs)
    )


def _told(view: View) -> str:
    """The last cosines, for those who do not see them."""
    return "; ".join(
        f"{rule}: " + ", ".join(f"{layer} {_worded(view.last(rule, layer))}" for layer in view.layers)
        for rule in by_rule(view.runs)
    )


def _worded(value: float) -> str:
    return "has none" if math.isnan(value) else f"{value:.2f}"


def _number(row: Row) -> float:
    return math.nan if row.cosine is None else row.cosine
