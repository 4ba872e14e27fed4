"""Tokens of an EEG: of its electrodes over time (SBE), and of maps of the scalp in bands of frequency (FBE)."""

from __future__ import annotations

from torch import nn

from sandbox.networks.joins import add
from sandbox.networks.kinds import Kind
from sandbox.networks.parts import Joined, Stateless

KERNELS = (8, 16)  # samples that the convolutions over time weigh


def spatial(shape: tuple[int, int], width: int, cells: Kind) -> list[nn.Module]:
    """Return the spatial embedding, `[T, B, electrodes x samples] -> [T, B, D, samples]`: a token for each sample.

        x = SN(BN(conv16(SN(BN(conv8(x))))))              over time, to 2 D and 4 D channels
        y = SN(BN(conv(x))) + SN(BN(conv'(x)))            over all electrodes

    Args:
        shape: electrodes or components, and samples.
        width: D.
        cells: the neurons.
    """
    electrodes, samples = shape
    over = [normed(nn.Conv2d(4 * width, width, (electrodes, 1)), width, cells) for _ in range(2)]
    return [
        Stateless(nn.Unflatten(1, (1, electrodes, samples))),
        cells.spiking(along(1, 2 * width, KERNELS[0], cells), 2 * width),
        cells.spiking(along(2 * width, 4 * width, KERNELS[1], cells), 4 * width),
        Joined([cells.spiking(over[0], width)], [cells.spiking(over[1], width)], add),
        Stateless(nn.Flatten(2)),
    ]


def frequency(shape: tuple[int, int, int], width: int, cells: Kind) -> list[nn.Module]:
    """Return the frequency embedding, `[T, B, bands x H x W] -> [T, B, D, tokens]`: a token for four places.

        x = pool(c4(c3(c2(c1(x))))),    c(x) = SN(BN(conv3x3(x)))         dilated by 2, to 4 D, 2 D, D and D channels
        y = x + SN(BN(conv1x1(x)))

    Args:
        shape: bands, and height and width of a map.
        width: D.
        cells: the neurons.
    """
    channels = (shape[0], 4 * width, 2 * width, width, width)
    dilated = [
        cells.spiking(normed(nn.Conv2d(a, b, 3, padding=2, dilation=2, bias=False), b, cells), b)
        for a, b in zip(channels, channels[1:], strict=False)
    ]
    position = cells.spiking(normed(nn.Conv2d(width, width, 1, bias=False), width, cells), width)
    return [
        Stateless(nn.Unflatten(1, shape)),
        *dilated,
        Stateless(nn.MaxPool2d(3, 2, 1)),
        Joined([position], [], add),
        Stateless(nn.Flatten(2)),
    ]


def tokens(shape: tuple[int, ...]) -> int:
    """Return the number of tokens of a view: its samples, or a quarter of the places of a map, rounded up on each side.

    >>> tokens((64, 128)), tokens((5, 32, 32))
    (128, 256)
    """
    if len(shape) == 2:
        return shape[1]
    return -(-shape[1] // 2) * -(-shape[2] // 2)


def along(inputs: int, outputs: int, kernel: int, cells: Kind) -> nn.Sequential:
    """Return a normalised convolution over time that keeps the number of samples.

    An even kernel reaches one sample further ahead than back.
    """
    padding = nn.ZeroPad2d(((kernel - 1) // 2, kernel // 2, 0, 0))
    return nn.Sequential(padding, *normed(nn.Conv2d(inputs, outputs, (1, kernel)), outputs, cells))


def normed(convolution: nn.Conv2d, channels: int, cells: Kind) -> nn.Sequential:
    """Return a convolution of maps and its normalisation."""
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, cells.gain)
    return nn.Sequential(convolution, norm)
