"""Dense layers of sequences `[T, B, C]`: normalised ones, parts of channels, and dropout that stays for a sequence."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from sandbox.networks.parts import Whole


def normalised(inputs: int, outputs: int, scale: float = 1.0, bias: bool = False) -> nn.Sequential:
    """Return a dense layer and a batch normalisation over batch and time, with an initial gain of `scale`."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=bias), norm(outputs, scale))


def norm(channels: int, scale: float = 1.0) -> nn.BatchNorm1d:
    """Return a batch normalisation of channels over batch and time, with an initial gain of `scale`."""
    made = nn.BatchNorm1d(channels)
    nn.init.constant_(made.weight, scale)
    return made


class Channels(nn.Module):
    """The channels from `start` up to `end` of `[B, C]`.

    >>> Channels(1, 3)(torch.tensor([[4.0, 5.0, 6.0, 7.0]])).tolist()
    [[5.0, 6.0]]
    """

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start, self.end = start, end

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.end]

    def extra_repr(self) -> str:
        return f"{self.start}, {self.end}"


class Dropped(Whole):
    """Dropout `[T, B, ...]` in training that drops a unit for a whole sequence, as SpikingJelly's layer does.

    Args:
        rate: share of units that are dropped.

    >>> x = Dropped(0.5)(torch.ones(3, 2, 100))
    >>> bool((x[0] == x[2]).all())
    True
    """

    masks: ClassVar[bool] = True

    def __init__(self, rate: float) -> None:
        super().__init__(None)
        if not 0 <= rate < 1:
            raise ValueError(f"dropout={rate}: give the share of units that are dropped, from 0 to below 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        kept = nn.functional.dropout(torch.ones_like(x[:1]), self.rate, self.training)
        return x * kept

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
