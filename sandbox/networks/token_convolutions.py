"""Convolutions along tokens `[T, B, D, N]`: one for each channel, and three of several widths side by side (SMSC)."""

from __future__ import annotations

from functools import reduce

from torch import nn

from sandbox.networks.dense import Channels, norm
from sandbox.networks.joins import add
from sandbox.networks.kinds import Kind
from sandbox.networks.parts import Joined, Stateless

WIDTHS = (1, 3, 5)


def depthwise(channels: int, kernel: int, gain: float = 1.0) -> nn.Sequential:
    """Return a convolution along tokens for each channel, and its normalisation."""
    convolution = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
    return nn.Sequential(convolution, norm(channels, gain))


def multiscale(width: int, cells: Kind, between: Kind, widths: tuple[int, ...] = WIDTHS) -> list[nn.Module]:
    """Return the multiscale convolutions (SMSC), without their residual.

        a, b, c = thirds of BN(W SN'(x))
        y = shuffle( BN(conv1(SN(a))) + BN(conv3(SN(b))) + BN(conv5(SN(c))) )      in two groups of channels

    Args:
        width: D, even.
        cells: the neurons SN.
        between: the neurons SN' in front.
        widths: of the convolutions.
    """
    scales = [
        [Stateless(Channels(n * width, (n + 1) * width)), cells.fires(width), Stateless(depthwise(width, kernel))]
        for n, kernel in enumerate(widths)
    ]
    summed = reduce(lambda before, scale: [Joined(before, scale, add)], scales[1:], scales[0])
    wide = len(widths) * width
    return [
        between.fires(width),
        Stateless(nn.Sequential(nn.Conv1d(width, wide, 1), norm(wide, cells.gain))),
        *summed,
        Stateless(nn.ChannelShuffle(2)),
    ]
