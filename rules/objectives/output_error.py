"""Objectives for outputs that are bits or their probabilities: one unit per class, on for the right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run
from rules.objectives.labels import LABELS, labels, require_whole_sequences, wanted
from rules.steps import wide


@dataclass(frozen=True)
class BitError(Objective):
    """`(1/T) sum_t 1/2 sum_c (target_c - o_c[t])^2`, the mean over samples: half the number of wrong bits.

    Hence `-T B dLoss/do = target - o`, which for bits o is the sampled output error of binary stochastic learning.

    >>> bits = torch.tensor([[[1.0, 0.0, 1.0]]])
    >>> float(BitError()(Run(bits), Batch(bits, torch.tensor([0]))))
    0.5
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        output = wide(run.output)
        target = wanted(output[0], labels(run, batch), 1.0, 0.0)
        return (output - target).square().sum(2).mean() / 2


@dataclass(frozen=True)
class BinaryCrossEntropy(Objective):
    """`-(1/T) sum_t sum_c [target_c log o_c[t] + (1 - target_c) log(1 - o_c[t])]`, the mean over samples.

    For one class a sample and outputs that are probabilities, such as those of stochastic binary units in a smooth
    pass; with a logistic read-out its gradient at the membrane is `o - target`. As in torch, logarithms are clipped at
    -100.

    Raises:
        ValueError: when called, for outputs outside 0..1.

    >>> half = torch.full((1, 1, 2), 0.5)
    >>> round(float(BinaryCrossEntropy()(Run(half), Batch(half, torch.tensor([0])))), 4)  # 2 ln 2
    1.3863
    """

    needs: ClassVar[frozenset[str]] = LABELS

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        output = wide(run.output)
        low, high = (float(bound) for bound in torch.aminmax(output.detach()))
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"outputs run from {low:g} to {high:g}; this objective needs probabilities: use a read-out of "
                "stochastic binary units, or for logits ce_mean with one class a sample, bce with several labels"
            )
        target = wanted(output[0], labels(run, batch), 1.0, 0.0).expand_as(output)
        return F.binary_cross_entropy(output, target, reduction="sum") / (len(output) * output.shape[1])
