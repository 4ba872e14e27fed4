"""Latency: measures of the answers after the first few steps, and the likeness of a sample's features over time."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rules.contract import Batch, Objective, Run
from rules.objectives.contrast import unit
from rules.objectives.features import gap_spike_rate_t


class Latency:
    """Measures over batches how good the answers of the first steps are.

    `report` returns, for the first number of the measure, such as `accuracy`: `accuracy_at_k`, that from the first k
    steps; `latency_drop`, that at the largest minus that at the smallest k; `latency_area`, the mean over all k. For
    recorded runs and classes, with n the unit vector of the read-out's input at a step, also `temporal_cosine`, the
    mean of `n_i[t].n_i[s]` over samples and pairs t != s; and `class_separation`, the mean of `n_i[t].n_j[t]` over
    pairs within classes minus that over pairs across classes. A silent step counts as cosine 0.

    Args:
        steps: the numbers k of first steps.
        objective: says what the answers of a run are, and how they are measured.

    Raises:
        ValueError: for steps that a run does not have.

    >>> from rules.objectives.readout import MeanCrossEntropy
    >>> counted = Latency([1, 2], MeanCrossEntropy())
    >>> output = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]])  # the second step corrects the first
    >>> counted.add(Run(output), Batch(output, torch.tensor([1])))
    >>> counted.report()
    {'accuracy_at_1': 0.0, 'accuracy_at_2': 1.0, 'latency_drop': 1.0, 'latency_area': 0.5}
    """

    def __init__(self, steps: Iterable[int], objective: Objective) -> None:
        self.steps = sorted(set(steps))
        self._objective = objective
        self._measures = {step: objective.measure() for step in self.steps}
        self._alike, self._pairs = 0.0, 0  # sum of cosines over time, and their number
        self._sums: dict[int, Tensor] = {}  # class -> sum of unit features [T, d]
        self._counts: dict[int, int] = {}  # class -> samples
        self._squares = 0.0

    def add(self, run: Run, batch: Batch) -> None:
        """Add a batch."""
        if not self.steps:
            return
        length = len(run.output)
        if self.steps[0] < 1 or self.steps[-1] > length:
            raise ValueError(f"steps={self.steps}: the run has {length} time steps; give numbers from 1 to {length}")
        for step, measure in self._measures.items():
            shown = batch._replace(targets=None if batch.targets is None else batch.targets[:step])
            measure.add(*self._objective.answers(run._replace(output=run.output[:step]), shown))
        if run.traces and batch.y is not None and batch.y.dtype == torch.int64 and batch.y.ndim == 1:
            self._look(unit(gap_spike_rate_t(run)).double(), batch.y)

    def _look(self, n: Tensor, y: Tensor) -> None:
        length, size = n.shape[:2]
        own = float(n.square().sum())
        self._alike += float(n.sum(0).square().sum()) - own
        self._pairs += size * length * (length - 1)
        self._squares += own
        for label in set(y.tolist()):
            mine = n[:, y == label]
            self._sums[label] = self._sums.get(label, 0) + mine.sum(1)
            self._counts[label] = self._counts.get(label, 0) + mine.shape[1]

    def report(self) -> dict[str, float]:
        """Return the measures; an empty dict if no steps were given."""
        reports = {step: measure.report() for step, measure in self._measures.items()}
        name = next((name for report in reports.values() for name in report), None)
        if name is None:
            return {}
        at = {step: report[name] for step, report in reports.items() if name in report}  # nothing is asked before
        found = {f"{name}_at_{step}": share for step, share in at.items()}
        found["latency_drop"] = at[max(at)] - at[min(at)]
        found["latency_area"] = sum(at.values()) / len(at)
        if self._pairs:
            found["temporal_cosine"] = self._alike / self._pairs
        return found | self._separation()

    def _separation(self) -> dict[str, float]:
        if not self._sums:
            return {}
        sums, counts = torch.stack(list(self._sums.values())), torch.tensor(list(self._counts.values()))
        steps, total = sums.shape[1], int(counts.sum())
        within, all_ = float(sums.square().sum()), float(sums.sum(0).square().sum())
        same, different = int((counts * (counts - 1)).sum()) * steps, (total**2 - int((counts**2).sum())) * steps
        if not (same and different):
            return {}
        return {"class_separation": (within - self._squares) / same - (all_ - within) / different}
