"""Latency: accuracy after the first few time steps, and the similarity of a sample's features over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rules.contract import Run
from rules.objectives.contrast import unit
from rules.objectives.features import gap_spike_rate_t


class Latency:
    """Measures over batches how well the first steps of runs predict the class.

    `report` returns `accuracy_at_k`, the accuracy from the first k steps; `latency_drop`, the accuracy at the largest
    minus that at the smallest k; `latency_area`, the mean of the accuracies. For recorded runs, with n the unit vector
    of the read-out's input at a step, also `temporal_cosine`, the mean of `n_i[t].n_i[s]` over samples and pairs
    t != s; and `class_separation`, the mean of `n_i[t].n_j[t]` over pairs within classes minus that over pairs across
    classes. A silent step counts as cosine 0.

    Args:
        steps: the numbers k of first steps.

    Raises:
        ValueError: for steps that a run does not have.

    >>> counted = Latency([1, 2])
    >>> output = torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]])  # the second step corrects the first
    >>> counted.add(Run(output), torch.tensor([1]), lambda run: run.output.mean(0))
    >>> counted.report()
    {'accuracy_at_1': 0.0, 'accuracy_at_2': 1.0, 'latency_drop': 1.0, 'latency_area': 0.5}
    """

    def __init__(self, steps: Iterable[int]) -> None:
        self.steps = sorted(set(steps))
        self._hits = dict.fromkeys(self.steps, 0)
        self._samples = 0
        self._alike, self._pairs = 0.0, 0  # sum of cosines over time, and their number
        self._sums: dict[int, Tensor] = {}  # class -> sum of unit features [T, d]
        self._counts: dict[int, int] = {}  # class -> samples
        self._squares = 0.0

    def add(self, run: Run, y: Tensor, scores: Callable[[Run], Tensor]) -> None:
        """Add a batch with labels `[B]`; `scores` returns the evidence of a run."""
        if not self.steps:
            return
        length = len(run.output)
        if self.steps[0] < 1 or self.steps[-1] > length:
            raise ValueError(f"steps={self.steps}: the run has {length} time steps; give numbers from 1 to {length}")
        for step in self.steps:
            answer = scores(run._replace(output=run.output[:step])).argmax(-1)
            self._hits[step] += int((answer == y).sum())
        self._samples += len(y)
        if run.traces:
            self._look(unit(gap_spike_rate_t(run)).double(), y)

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
        if not self._samples:
            return {}
        accuracy = {step: hits / self._samples for step, hits in self._hits.items()}
        found = {f"accuracy_at_{step}": share for step, share in accuracy.items()}
        found["latency_drop"] = accuracy[self.steps[-1]] - accuracy[self.steps[0]]
        found["latency_area"] = sum(accuracy.values()) / len(accuracy)
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
