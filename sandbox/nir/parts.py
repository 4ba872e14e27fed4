"""Nodes of NIR that torch has no module for: a threshold, a factor for each input, pools that add, and delays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.contract import Run
from rules.spikes.surrogate import Surrogate
from sandbox.networks.network import Part


class Threshold(nn.Module):
    """Spikes without memory: 1 where the input is above a threshold, with a surrogate gradient.

    Args:
        threshold: a number for each input, `[...]`; fixed.

    >>> Threshold(torch.tensor([1.0, 2.0]))(torch.tensor([[1.0, 3.0]])).tolist()
    [[0.0, 1.0]]

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `Threshold`.
    """

    puts_out_bits = True

    def __init__(self, threshold: Tensor) -> None:
        super().__init__()
        self.threshold: Tensor
        self.register_buffer("threshold", threshold)
        self.surrogate = Surrogate("atan")

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros and ones of the shape of `x`."""
        return self.surrogate.spike(x - self.threshold, True)


class Scale(nn.Module):
    """A learned factor for each input.

    Args:
        scale: the factors, `[...]`.

    >>> Scale(torch.tensor([1.0, -2.0]))(torch.tensor([[3.0, 3.0]])).tolist()
    [[3.0, -6.0]]

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `Scale`.
    """

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the product with the factors."""
        return x * self.scale


class SumPool2d(nn.Module):
    """The sums of windows of an image `[B, C, H, W]`.

    Args:
        kernel_size: height and width of a window.
        stride: steps between windows.
        padding: zeros at each side.

    >>> SumPool2d((2, 2), (2, 2), (0, 0))(torch.ones(1, 1, 4, 4)).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """

    def __init__(self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, C, H', W']`."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, divisor_override=1)


class Delayed(Part):
    """A delay of whole steps, of its own for each input; zeros come before the first step.

    Args:
        steps: `[...]`, whole numbers, at least 0.

    >>> part = Delayed(torch.tensor([0, 2]))
    >>> part(torch.arange(1.0, 4.0)[:, None, None].expand(3, 1, 2))[:, 0].tolist()
    [[1.0, 0.0], [2.0, 0.0], [3.0, 1.0]]

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `Delay`.
    """

    def __init__(self, steps: Tensor) -> None:
        super().__init__()
        self.steps: Tensor
        self.register_buffer("steps", steps)
        self.longest = int(steps.max())

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Return `[T, B, ...]` as it was some steps ago; the carry is the input of the last steps."""
        before = x.new_zeros(self.longest, *x.shape[1:]) if carry is None else carry
        known = torch.cat([before, x])
        now = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (x.ndim - 1)) + self.longest
        output = known.gather(0, (now - self.steps).expand(x.shape))
        return Run(output, known[len(x) :])

    def extra_repr(self) -> str:
        return f"longest={self.longest}"
