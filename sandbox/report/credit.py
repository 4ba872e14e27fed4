"""What the credit microscope saw: the cosine while learning, layer by layer, and where it ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sandbox.microscope import Row
from sandbox.report.figures import Curve, Figure, Matrix, Panels
from sandbox.runs.finished import FinishedRun, by_rule


class View(NamedTuple):
    """All looks beside one reference."""

    reference: str
    layers: list[str]
    runs: list[FinishedRun]  # those that were looked at

    @property
    def rules(self) -> list[str]:
        """The rules of the runs, in their order."""
        return list(by_rule(self.runs))

    def curve(self, rule: str, layer: str) -> Curve:
        """Cosine against steps taken, one line per seed; NaN where there is none."""
        seeds = [self._rows(run, layer) for run in by_rule(self.runs)[rule]]
        steps = sorted(set.intersection(*({row.step for row in rows} for rows in seeds)))
        return Curve(steps, [[_cosine(row) for row in rows if row.step in steps] for rows in seeds])

    def last(self, rule: str, layer: str) -> float:
        """The mean over the seeds of the cosine at each run's last look; NaN where one has none."""
        ends = [rows[-1] for run in by_rule(self.runs)[rule] if (rows := self._rows(run, layer))]
        return float(np.mean([_cosine(row) for row in ends])) if ends else math.nan

    def _rows(self, run: FinishedRun, layer: str) -> list[Row]:
        return [row for row in run.looks if row.layer == layer and row.reference == self.reference]


def figures(runs: Sequence[FinishedRun], task: str) -> list[Figure]:
    """Two figures for each reference; none where no run was looked at through a microscope."""
    looked = [run for run in runs if run.looks]
    rows = [row for run in looked for row in run.looks]
    layers = list(dict.fromkeys(row.layer for row in rows))
    views = [View(reference, layers, looked) for reference in dict.fromkeys(row.reference for row in rows)]
    return [figure for view in views for figure in (_curves(view, task), _map(view, task))]


def _curves(view: View, task: str) -> Figure:
    layers = {layer: {rule: view.curve(rule, layer) for rule in view.rules} for layer in view.layers}
    return Figure(
        f"credit_{view.reference.replace(' ', '_')}",
        f"{task}: does credit point along {view.reference}? 1 is along it, 0 across",
        f"Cosine of credit with {view.reference} against steps, layer by layer. {_told(view)}",
        [
            {"rule": run.rule, "seed": run.seed, **row._asdict()}
            for run in view.runs
            for row in run.looks
            if row.reference == view.reference
        ],
        Panels("steps of training before the look", "cosine", layers, (-1.08, 1.08)),
    )


def _map(view: View, task: str) -> Figure:
    ends = [[view.last(rule, layer) for rule in view.rules] for layer in view.layers]
    text = [["–" if math.isnan(end) else f"{end:.2f}" for end in row] for row in ends]
    hover = [[(rule, layer) for rule in view.rules] for layer in view.layers]
    ending = f"of credit with {view.reference} at the last look"
    return Figure(
        f"credit_map_{view.reference.replace(' ', '_')}",
        f"{task}: cosine {ending}",
        f"Cosine {ending}, layers by rules. {_told(view)}",
        [
            {"layer": layer, "rule": rule, "cosine": None if math.isnan(end := view.last(rule, layer)) else end}
            for layer in view.layers
            for rule in view.rules
        ],
        Matrix(view.rules, view.layers, ends, text, hover, bar="cosine", reach=1.0),
        plotted=False,
    )


def _told(view: View) -> str:
    """The last cosines in words."""
    return "; ".join(
        f"{rule}: " + ", ".join(f"{layer} {_worded(view.last(rule, layer))}" for layer in view.layers)
        for rule in view.rules
    )


def _worded(value: float) -> str:
    return "has none" if math.isnan(value) else f"{value:.2f}"


def _cosine(row: Row) -> float:
    return math.nan if row.cosine is None else row.cosine
