"""The logistic loss of goodness: high for the right label of a sample, low for any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run, lengths_of
from rules.fields import check_fields
from rules.objectives.labels import LABELS, labels
from rules.steps import mean


@dataclass(frozen=True)
class Goodness(Objective):
    """The logistic loss of forward-forward, for an output that holds the goodness of a sample with each label.

        p_c = sigmoid(G_c - threshold),    loss = -log p_y - mean over c != y of log(1 - p_c),   the mean over samples

    G is the mean over the steps that count.

    Args:
        threshold: the goodness that is as likely right as wrong, 1 by default.

    Raises:
        ValueError: when called, for an output of one label, and for labels that do not fit it.

    >>> run = Run(torch.tensor([[[1.0, 1.0]]]))
    >>> round(float(Goodness()(run, Batch(run.output, torch.tensor([0])))), 4)  # 2 ln 2
    1.3863

    Reference: Hinton 2022 (arXiv 2212.13345), reconstructed; the mean over all wrong labels is ours.
    """

    threshold: float = 1.0

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        y, count = labels(run, batch), run.output.shape[2]
        if count < 2:
            raise ValueError("goodness tells a right label from wrong ones, and the output has 1: give it 2 or more")
        above = mean(run.output, lengths_of(run, batch)) - self.threshold  # [B, labels]
        right = F.one_hot(y, count).bool()
        wrong = F.softplus(above).masked_fill(right, 0.0).sum(1) / (count - 1)
        return torch.mean(F.softplus(-above[right]) + wrong)
