"""From the width of a student to that of its teacher."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rules.seeds import seeded


class Projector(nn.Module):
    """A student's signal in the width of its teacher: `LayerNorm(W2 GELU(W1 x))` without biases.

    >>> Projector(4, 6)(torch.ones(2, 4)).shape
    torch.Size([2, 6])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        dense = nn.Linear(inputs, outputs, bias=False), nn.Linear(outputs, outputs, bias=False)
        self.path = nn.Sequential(dense[0], nn.GELU(), dense[1], nn.LayerNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.path(x)
        return found


def projector(inputs: int, outputs: int, seed: int) -> Projector:
    """Return a projector with weights drawn from a seed, uniform in `+-1 / sqrt(fan_in)`."""
    made, rng = Projector(inputs, outputs), seeded(seed, "projector")
    with torch.no_grad():
        for p in made.parameters():
            if p.ndim == 2:
                p.uniform_(-(p.shape[1] ** -0.5), p.shape[1] ** -0.5, generator=rng)
    return made
