"""Spikes drawn with the probability of an escape function, whose derivative is the score of what was drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rules.spikes.bits import bernoulli
from rules.spikes.surrogate import Surrogate, heaviside

FAR = 1e6  # a distance from threshold at which a cell fires for certain, or certainly not
NEARLY = 1e-3  # of 0 and 1 there: heavy tails still have 1e-6


class Score(torch.autograd.Function):
    """Given spikes forward, the derivative of the logarithm of their probability times the error backward."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, spikes: Tensor, score: Tensor) -> Tensor:
        ctx.save_for_backward(score)
        return spikes.clone()

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None]:
        (score,) = ctx.saved_tensors
        return error * score, None, None


def scored(surrogate: Surrogate, generator: torch.Generator) -> Callable[..., Tensor]:
    """Return the function that `differentiating(spike=...)` calls in place of a surrogate's own.

    Cells with noise of their own are compared with it, and its probability is that of their surrogate.
    """

    def spike(own: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        escape, at = (surrogate if noise is None else own), u.detach()
        chance = escape.primitive(at)
        assert chance is not None  # `require_open` has asked
        spikes = fired(at, chance, strict, noise, generator)
        found: Tensor = Score.apply(u, spikes, score(spikes, chance, escape.grad(at)))  # type: ignore[no-untyped-call]
        return found

    return spike


def fired(u: Tensor, chance: Tensor, strict: bool, noise: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return spikes: of the cells' own noise, or drawn."""
    return bernoulli(chance, generator) if noise is None else heaviside(u, strict, noise)


def score(spikes: Tensor, chance: Tensor, slope: Tensor) -> Tensor:
    """Return `(z - p) p' / (p (1 - p))`: p' / p of a spike, - p' / (1 - p) of none; 0 where p does not change.

    >>> score(torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.25]), torch.tensor([0.5, 0.5]))
    tensor([ 2.0000, -0.6667])
    """
    found = torch.where(spikes > 0, slope / chance, -slope / (1 - chance))
    return torch.where(slope == 0, 0.0, found)


def require_open(surrogate: Surrogate) -> None:
    """Raise ValueError for a surrogate whose primitive does not rise from 0 to 1."""
    ends = surrogate.primitive(torch.tensor([-FAR, FAR], dtype=torch.float64))
    if ends is None or not torch.allclose(ends, ends.new_tensor([0.0, 1.0]), rtol=0, atol=NEARLY):
        seen = (
            "has no primitive" if ends is None else f"has a primitive from {float(ends[0]):.3g} to {float(ends[1]):.3g}"
        )
        raise ValueError(
            f"surrogate={surrogate}: it {seen}, and the probability of a spike rises from 0 to 1: use "
            "Surrogate('sigmoid'), Surrogate('atan') or Surrogate('erf')"
        )
