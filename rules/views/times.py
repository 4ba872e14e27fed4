"""Views that change when a sample is shown, and nothing of what is shown."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.views.base import chance, integers, require, uniform
from rules.views.vectors import features


@dataclass(frozen=True)
class StepDrop:
    """A random loss of time steps: at a dropped step all features of a sample are 0, and the others stay as they are.

    One step of each sample, drawn uniformly, is always kept, so that no sample disappears; an input of one step is
    returned unchanged. A label that depends on the features of a step stays right.

    Args:
        probability: of dropping a step of a sample, 0.2 by default.

    Raises:
        ValueError: for a probability outside 0..1; when called, for anything but floating-point features `[T, B, ...]`.

    >>> seen = StepDrop(probability=1.0)(torch.ones(5, 2, 3), torch.Generator().manual_seed(0))
    >>> seen.sum((0, 2)).tolist()
    [3.0, 3.0]
    """

    probability: float = 0.2

    def __post_init__(self) -> None:
        check_fields(self)
        require(chance(self.probability), self, "give a probability between 0 and 1")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        features(x, self)
        if len(x) == 1:
            return x
        dropped = uniform(generator, x, *x.shape[:2]) < self.probability  # [T, B]
        kept = integers(generator, x, 0, len(x) - 1, x.shape[1])
        dropped[kept, torch.arange(x.shape[1], device=x.device)] = False
        return x.masked_fill(dropped.view(*dropped.shape, *[1] * (x.ndim - 2)), 0)
