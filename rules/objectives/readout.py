"""Objectives on the output: its mean, its count, every step, its maximum, its last step.

`o[t]` is the output `[T, B, classes]` of a run: spikes, membranes or logits. Each objective's `scores` are the evidence
that its loss uses, so that accuracy and loss refer to the same quantity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run

LABELS = frozenset({"labels"})


def labels(run: Run, batch: Batch) -> Tensor:
    """Return the labels of a batch, checked against the output.

    Raises:
        TypeError: for labels that are not int64.
        ValueError: for labels that are missing, out of range, or not one for each sample.
    """
    y = batch.y
    if y is None:
        raise ValueError("this objective needs labels: let the loader yield (x, y) or rules.Batch(x, y)")
    classes = run.output.shape[2]
    if y.dtype != torch.int64:
        raise TypeError(f"labels have dtype {y.dtype}; wanted class numbers as int64: use y.long()")
    if y.shape != run.output.shape[1:2]:
        raise ValueError(
            f"labels have shape {tuple(y.shape)}; wanted one number for each of {run.output.shape[1]} samples"
        )
    low, high = (int(bound) for bound in torch.aminmax(y))
    if low < 0 or high >= classes:
        raise ValueError(f"labels run from {low} to {high}, but the output has {classes} classes: 0 to {classes - 1}")
    return y


def per_step(loss: Any, output: Tensor, y: Tensor, **options: Any) -> Tensor:
    """Return `(1/T) sum_t loss(o[t], y)`."""
    steps = len(output)
    value: Tensor = loss(output.flatten(0, 1), y.repeat(steps), **options)
    return value


@dataclass(frozen=True)
class MeanCrossEntropy(Objective):
    """`CE(mean_t o[t], y)`, the standard of direct training.

    >>> run = Run(torch.zeros(5, 2, 4))
    >>> round(float(MeanCrossEntropy()(run, Batch(torch.zeros(5, 2, 1), torch.tensor([0, 3])))), 4)  # ln 4
    1.3863
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return F.cross_entropy(self.scores(run), labels(run, batch))


@dataclass(frozen=True)
class SumCrossEntropy(Objective):
    """`CE(sum_t o[t], y)`: T times sharper than the mean; snnTorch's `ce_count_loss` on spikes (code).

    >>> run = Run(torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]))
    >>> round(float(SumCrossEntropy()(run, Batch(torch.zeros(2, 1, 1), torch.tensor([0])))), 4)  # ln(1 + exp(-2))
    0.1269
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def scores(self, run: Run) -> Tensor:
        return run.output.sum(0)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return F.cross_entropy(self.scores(run), labels(run, batch))


@dataclass(frozen=True)
class RateCrossEntropy(Objective):
    """`(1/T) sum_t CE(o[t], y)`: cross-entropy at every step; snnTorch's `ce_rate_loss` on spikes (code).

    >>> run = Run(torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]]))
    >>> round(float(RateCrossEntropy()(run, Batch(torch.zeros(2, 1, 1), torch.tensor([0])))), 4)
    0.5032
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return per_step(F.cross_entropy, run.output, labels(run, batch))


@dataclass(frozen=True)
class TET(Objective):
    """Temporal efficient training: `(1 - lam) (1/T) sum_t CE(o[t], y) + lam mean((o - phi)^2)`.

    The mean of the second term runs over steps, samples and classes.

    Args:
        lam: weight of the second term, 0 to 1, 1e-3 by default.
        phi: target of the output in the second term, 1 by default.

    Raises:
        ValueError: for lam outside 0..1.

    >>> run = Run(torch.zeros(5, 2, 4))
    >>> round(float(TET(lam=0.5)(run, Batch(torch.zeros(5, 2, 1), torch.tensor([0, 3])))), 4)  # (ln 4 + 1) / 2
    1.1931

    Reference: Deng et al. 2022 (openreview _XNtisL32jv); the defaults are those of its code for the event-camera data.
    """

    lam: float = 1e-3
    phi: float = 1.0

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam={self.lam}: give a weight between 0 and 1")

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        fit = per_step(F.cross_entropy, run.output, labels(run, batch))
        return (1 - self.lam) * fit + self.lam * (run.output - self.phi).square().mean()


@dataclass(frozen=True)
class MaxCrossEntropy(Objective):
    """`CE(max_t o[t], y)`: only the step of the maximum gets a gradient, the first such step if several are equal.

    >>> run = Run(torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]]))
    >>> MaxCrossEntropy().scores(run)
    tensor([[3., 1.]])

    Reference: SpyTorch and snnTorch (code).
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def scores(self, run: Run) -> Tensor:
        return run.output.max(0).values

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return F.cross_entropy(self.scores(run), labels(run, batch))


@dataclass(frozen=True)
class LastCrossEntropy(Objective):
    """`CE(o[T], y)`: the last step decides.

    >>> LastCrossEntropy().scores(Run(torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]])))
    tensor([[0., 1.]])
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def scores(self, run: Run) -> Tensor:
        return run.output[-1]

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return F.cross_entropy(self.scores(run), labels(run, batch))


@dataclass(frozen=True)
class CountError(Objective):
    """`MSE(sum_t s[t], target) / T`, targets `floor(T on)` spikes for the class and `floor(T off)` for the others.

    The mean runs over samples and classes.

    Args:
        on: spikes per step for the class of the sample, 1 by default.
        off: spikes per step for the other classes, 0 by default.

    >>> float(CountError()(Run(torch.ones(4, 1, 2)), Batch(torch.zeros(4, 1, 1), torch.tensor([0]))))  # 16 / 2 / 4
    2.0

    Reference: snnTorch `mse_count_loss` (code), whose defaults these are.
    """

    on: float = 1.0
    off: float = 0.0

    needs: ClassVar[frozenset[str]] = LABELS

    def scores(self, run: Run) -> Tensor:
        return run.output.sum(0)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        steps = len(run.output)
        counts = self.scores(run)
        target = wanted(counts, labels(run, batch), math.floor(steps * self.on), math.floor(steps * self.off))
        return F.mse_loss(counts, target) / steps


@dataclass(frozen=True)
class MembraneError(Objective):
    """`(1/T) sum_t MSE(o[t], on for the class, off for the others)`, the mean over samples and classes.

    Args:
        on: target for the class of the sample, 1 by default.
        off: target for the other classes, 0 by default.

    >>> float(MembraneError()(Run(torch.zeros(4, 1, 2)), Batch(torch.zeros(4, 1, 1), torch.tensor([0]))))
    0.5
    """

    on: float = 1.0
    off: float = 0.0

    needs: ClassVar[frozenset[str]] = LABELS

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        target = wanted(run.output[0], labels(run, batch), self.on, self.off)
        return F.mse_loss(run.output, target.expand_as(run.output))


def wanted(like: Tensor, y: Tensor, on: float, off: float) -> Tensor:
    """Return targets `[B, classes]`: `on` in the column of each sample's class, `off` elsewhere."""
    return torch.full_like(like, off).scatter(1, y[:, None], on)
