"""Views of feature vectors: with noise, or with features missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rules.draws import normal
from rules.fields import check_fields
from rules.views.base import chance, require, still, uniform


def features(x: Tensor, view: object) -> None:
    """Raise ValueError for anything but floating-point features `[T, B, N, ...]`."""
    if x.ndim < 3:
        raise ValueError(
            f"{view} needs features [T, B, N]; this input is {tuple(x.shape)}: put time first and the samples second"
        )
    if not x.is_floating_point():
        raise ValueError(f"{view} needs floating-point features; these are {x.dtype}: use x.float()")


@dataclass(frozen=True)
class AdditiveNoise:
    """Features plus Gaussian noise: `x[t] + std n`, with `n ~ N(0, 1)` the same at every step.

    Args:
        std: standard deviation, in the features' unit, 0.1 by default.

    Raises:
        ValueError: for a std that is negative or not finite.

    >>> AdditiveNoise(std=0.1)(torch.zeros(5, 2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([5, 2, 3])
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        require(0 <= self.std < float("inf"), self, "std is a finite number, at least 0")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        features(x, self)
        noise = normal(x.shape[1:], generator, x.new_empty(0, dtype=torch.float32)).to(x)
        return still(lambda x: x + self.std * noise, x)


@dataclass(frozen=True)
class FeatureDrop:
    """A random loss of features: a dropped feature is 0 at all steps, and the others are not scaled up.

    Args:
        probability: of dropping a feature of a sample, 0.1 by default.

    Raises:
        ValueError: for a probability outside 0..1.

    >>> float(FeatureDrop(probability=1.0)(torch.ones(5, 2, 3), torch.Generator()).sum())
    0.0
    """

    probability: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        require(chance(self.probability), self, "give a probability between 0 and 1")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        features(x, self)
        missing = uniform(generator, x, *x.shape[1:]) < self.probability  # [B, *features]
        return still(lambda x: x.masked_fill(missing, 0), x)
