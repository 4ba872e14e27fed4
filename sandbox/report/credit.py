"""Figures of the credit microscope: the cosine of each layer during learning, and its final value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sandbox.machine.text import file_name
from sandbox.microscope import Row
from sandbox.report.figures import Curve, Figure, Matrix, Panels
from sandbox.runs.finished import FinishedRun, by_rule


class View(NamedTuple):
    """All measurements against one reference."""

    reference: str
    layers: list[str]
    runs: list[FinishedRun]  # those that a microscope watched

    @property
    def rules(self) -> list[str]:
        """The rules of the runs, in their order."""
        return list(by_rule(self.runs))

    def curve(self, rule: str, layer: str) -> Curve:
        """Return the cosine against steps taken, one line per seed; NaN where it is undefined."""
        seeds = [self._rows(run, layer) for run in by_rule(self.runs)[rule]]
        # Seeds may have been measured at different steps, for example after a stop: keep the common ones.
        steps = sorted(set.intersection(*({row.step for row in rows} for rows in seeds)))
        return Curve(steps, [[_cosine(row) for row in rows if row.step in steps] for rows in seeds])

    def last(self, rule: str, layer: str) -> float:
        """Return the mean over the seeds of the last cosine of each run; NaN where a seed has none."""
        ends = [rows[-1] for run in by_rule(self.runs)[rule] if (rows := self._rows(run, layer))]
        return float(np.mean([_cosine(row) for row in ends])) if ends else math.nan

    def _rows(self, run: FinishedRun, layer: str) -> list[Row]:
        return [row for row in run.looks if row.layer == layer and row.reference == self.reference]


def figures(runs: Sequence[FinishedRun], task: str) -> list[Figure]:
    """Build two figures for each reference; none where no run was watched by a microscope."""
    watched = [run for run in runs if run.looks]
    rows = [row for run in watched for row in run.looks]
    layers = list(dict.fromkeys(row.layer for row in rows))
    views = [View(reference, layers, watched) for reference in dict.fromkeys(row.reference for row in rows)]
    return [figure for view in views for figure in (_curves(view, task), _map(view, task))]


def _curves(view: View, task: str) -> Figure:
    layers = {layer: {rule: view.curve(rule, layer) for rule in view.rules} for layer in view.layers}
    return Figure(
        file_name(f"credit_{view.reference}"),
        f"{task}: cosine between credit and {view.reference} (1 parallel, 0 orthogonal)",
        f"Cosine between credit and {view.reference} against steps, layer by layer. At the end: {_in_words(view)}",
        [
            {"rule": run.rule, "seed": run.seed, **row._asdict()}
            for run in view.runs
            for row in run.looks
            if row.reference == view.reference
        ],
        Panels("training steps", "cosine", layers, (-1.08, 1.08)),
    )


def _map(view: View, task: str) -> Figure:
    ends = [[view.last(rule, layer) for rule in view.rules] for layer in view.layers]
    text = [["–" if math.isnan(end) else f"{end:.2f}" for end in row] for row in ends]
    hover = [[(rule, layer) for rule in view.rules] for layer in view.layers]
    ending = f"between credit and {view.reference} at the last measurement"
    return Figure(
        file_name(f"credit_map_{view.reference}"),
        f"{task}: cosine {ending}",
        f"Cosine {ending}, layers by rules. {_in_words(view)}",
        [
            {"layer": layer, "rule": rule, "cosine": None if math.isnan(end := view.last(rule, layer)) else end}
            for layer in view.layers
            for rule in view.rules
        ],
        Matrix(view.rules, view.layers, ends, text, hover, bar="cosine", reach=1.0),
        plotted=False,
    )


def _in_words(view: View) -> str:
    """Describe the last cosines in words."""
    return "; ".join(
        f"{rule}: " + ", ".join(f"{layer} {_worded(view.last(rule, layer))}" for layer in view.layers)
        for rule in view.rules
    )


def _worded(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _cosine(row: Row) -> float:
    return math.nan if row.cosine is None else row.cosine
