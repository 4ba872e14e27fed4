"""Nodes of NIR that torch has no module for: a threshold, a factor for each input, and pools that add."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rules.spikes.surrogate import Surrogate


class Threshold(nn.Module):
    """Spikes without memory: 1 where the input is above a threshold, with a surrogate gradient.

    Args:
        threshold: a number for each input, `[...]`; fixed.

    >>> import torch
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

    >>> import torch
    >>> Scale(torch.tensor([1.0, -2.0]))(torch.tensor([[3.0, 3.0]])).tolist()
    [[3.0, -6.0]]

    Reference: NIR (doi 10.1038/s41467-024-52259-9), `Scale`.
    """

    linear = True

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

    >>> import torch
    >>> SumPool2d((2, 2), (2, 2), (0, 0))(torch.ones(1, 1, 4, 4)).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """

    linear = True

    def __init__(self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, C, H', W']`."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, divisor_override=1)
