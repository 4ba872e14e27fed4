"""Attention gates over time, channels or space: analogue ones for branches, spiking ones for shortcuts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rules.errors import unknown
from sandbox.networks.kinds import lif
from sandbox.networks.parts import Whole
from sandbox.networks.population import Population


class Axis(NamedTuple):
    """What a gate of one axis pools over, axes of `[T, B, C, H, W]`."""

    pooled: tuple[int, ...]


AXES: dict[str, Axis] = {"time": Axis((2, 3, 4)), "channel": Axis((0, 3, 4)), "space": Axis((0, 2))}


class Gate(Whole):
    """A gate on currents, `relu(g x)`, with a value for each step, channel or place.

        g = f(M(mean x) + M(max x)),    M = W2 relu(W1 .)           time, channel
        g = f(conv([mean x, max x]))                                space

    `analogue`: f is the logistic, as in the backbone (MA). `spiking`: f is a LIF neuron from rest, with v <- v +
    (logit - v) / 2 and a threshold of 1, as in the shortcut (IA), so that the gate is binary, and may always be shut.
    The time gate has a logit for each step, over which the neuron runs. The gates of channels and of space average over
    time as well, and have one step: they are open where the logit is at least 2. M has no biases.

    Args:
        axis: "time", "channel" or "space".
        spiking: whether the gate is binary.
        channels: of the input.
        steps: of a sequence; for "time" alone, which has weights for each.
        reduction: of the units inside M, 4 for time by default, and for channels to eight units.
        kernel: of the convolution of the space gate, 3 by default.

    Raises:
        ValueError: for an unknown axis, a time gate without steps, a reduction below 1, and in a call for another
            number of steps.

    >>> gate = Gate("channel", spiking=True, channels=16)
    >>> gate(torch.rand(4, 2, 16, 3, 3)).shape
    torch.Size([4, 2, 16, 3, 3])

    Reference: Shan et al. 2023 (arXiv 2311.06570), from the authors' code, whose spiking gate walks over the samples of
    a batch where this one walks over time.
    """

    def __init__(
        self,
        axis: str,
        spiking: bool,
        channels: int,
        steps: int | None = None,
        *,
        reduction: int | None = None,
        kernel: int = 3,
    ) -> None:
        if axis not in AXES:
            raise unknown("axis of a gate", axis, AXES)
        if axis == "time" and steps is None:
            raise ValueError("a gate over time has weights for each step: give the number of steps, as in steps=4")
        if reduction is not None and reduction < 1:
            raise ValueError(f"reduction={reduction}: give a factor of at least 1, or None for the usual one")
        super().__init__(steps if axis == "time" else None)
        self.axis = axis
        self.pooled = AXES[axis].pooled
        self.fires = Population(lif(), 1.0) if spiking else None
        if axis == "space":
            self.weigh: nn.Module = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        else:
            units = channels if steps is None or axis == "channel" else steps
            inside = (
                max(1, units // reduction) if reduction else max(1, units // 4) if axis == "time" else min(8, units)
            )
            self.weigh = nn.Sequential(
                nn.Linear(units, inside, bias=False), nn.ReLU(), nn.Linear(inside, units, bias=False)
            )

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits, with an axis of 1 for everything that is pooled over: `[T or 1, B, C or 1, H, W or 1]`."""
        mean, top = x.mean(self.pooled), x.amax(self.pooled)  # [T, B], [B, C] or [B, H, W]
        if self.axis == "space":
            found: Tensor = self.weigh(torch.stack([mean, top], 1))
            return found[None]
        if self.axis == "time":
            mean, top = mean.T, top.T
        found = self.weigh(mean) + self.weigh(top)
        return found.T[:, :, None, None, None] if self.axis == "time" else found[None, :, :, None, None]

    def openness(self, x: Tensor) -> Tensor:
        """Return the gate, between 0 and 1; 0 or 1 if it is spiking."""
        logits = self.logits(x)
        if self.fires is None:
            return torch.sigmoid(logits)
        gate: Tensor = self.fires(logits)[0]
        return gate

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.openness(x) * x)

    def extra_repr(self) -> str:
        return f"axis={self.axis}, spiking={self.fires is not None}, steps={self.steps}"
