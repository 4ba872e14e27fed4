"""Batch normalisation with statistics, gains and offsets of each step."""

from __future__ import annotations

from torch import Tensor, nn

from sandbox.networks.parts import Whole


class TimeNorm(Whole):
    """Batch normalisation of every step by itself, `[T, B, C, H, W]`, with `2 C T` parameters.

    It equals T batch normalisations, one for each step.

    Args:
        channels: C.
        steps: T.

    Raises:
        ValueError: in a call for another number of steps.

    >>> import torch
    >>> TimeNorm(channels=3, steps=4)(torch.rand(4, 2, 3, 5, 5)).shape
    torch.Size([4, 2, 3, 5, 5])

    Reference: Yu et al. 2024 (arXiv 2406.15034), from the authors' code.
    """

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__(steps)
        self.norm = nn.BatchNorm2d(channels * steps)

    def forward(self, x: Tensor) -> Tensor:
        steps, samples, channels, *space = x.shape
        y: Tensor = self.norm(x.transpose(0, 1).reshape(samples, steps * channels, *space))
        return y.reshape(samples, steps, channels, *space).transpose(0, 1)
