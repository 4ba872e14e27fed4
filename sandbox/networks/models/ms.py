"""MS-ResNet: spiking residual networks whose shortcuts add membrane inputs, before the neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from rules.errors import unknown
from sandbox.networks.convolutions import averaged, convolved, drawn, require_image, sized, spiking
from sandbox.networks.joins import add
from sandbox.networks.parts import Joined, Neurons, Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons import MSLIF

SCALE = 0.5  # initial gain of normalisations, the threshold of the neurons


@dataclass(frozen=True)
class Size:
    """Blocks and channels of each stage; `deep` has three convolutions as its stem, and averages in its shortcuts."""

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    deep: bool = False
    small: bool = False


DEPTHS: dict[int | str, Size] = {
    "tiny": Size((1, 1), (16, 32), small=True),
    18: Size((2, 2, 2, 2)),
    34: Size((3, 4, 6, 3)),
    104: Size((3, 8, 32, 8), deep=True),
}


AROUND = ("pair", "each", "none")


def ms_resnet(
    shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    depth: int | str = "tiny",
    *,
    around: Literal["pair", "each", "none"] = "pair",
    seed: int = 0,
) -> Stack:
    """Build an MS-ResNet: neurons come first, and what the shortcut adds is real.

        output = BN0(conv(SN(BN(conv(SN(x)))))) + shortcut(x)

    The gain of BN0 starts at 0, so that a new block is its shortcut. The convolutions of branches see zeros and ones;
    the stem and the shortcuts that change the shape see real numbers. Statistics of normalisations are pooled over
    batch, time and space (tdBN). The first block of every stage halves the image. "tiny" is ours.

    Args:
        shape: of an image `(C, H, W)`.
        classes: number of outputs.
        depth: "tiny", 18, 34 or 104. A later paper's table prints 78.37 million parameters for 104 layers; those of the
            authors' code, and of this model, are 77,350,504.
        around: "pair", a shortcut around every two convolutions, as published; "each", one around every convolution, as
            in Bi-Real nets, which suits weights of one bit. Both have as many parameters. "none", ours, to compare
            with: the same convolutions one after the other, without the 1 x 1 convolutions of shortcuts; all gains
            start at 0.5, because a branch that starts at 0 would pass on nothing.
        seed: of the initial weights.

    Returns: A model whose mean output over time is the published read-out.

    Raises:
        ValueError: for an unknown depth or kind of shortcut, and a shape that is not an image.

    >>> import torch
    >>> ms_resnet((1, 8, 8), 10)(torch.rand(1, 2, 1, 8, 8).expand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Hu et al. 2024 (arXiv 2112.08954), from the authors' code; shortcuts around each convolution after Liu et
    al. 2018 (arXiv 1808.00278, recalled), our reading of "multiple shortcuts" in the abstract of arXiv 2508.12609.
    """
    require_image(shape)
    if around not in AROUND:
        raise unknown("around", around, AROUND)
    size = sized("depth", depth, DEPTHS)
    parts = stem(shape[0], size)
    inputs = size.widths[0]
    for count, width in zip(size.blocks, size.widths, strict=True):
        for number in range(count):
            halves = not number
            if around == "none":
                first = Stateless(convolved(inputs, width, 3, 1 + halves, scale=SCALE))
                parts += [fires(), first, fires(), Stateless(convolved(width, width, 3, scale=SCALE))]
            elif around == "each":
                first = Stateless(convolved(inputs, width, 3, 1 + halves, scale=0.0))
                parts.append(block([fires(), first], inputs, width, halves, size.deep))
                parts.append(block([fires(), ending(width)], width, width, False, size.deep))
            else:
                middle = spiking(convolved(inputs, width, 3, 1 + halves, scale=SCALE), MSLIF())
                parts.append(block([fires(), middle, ending(width)], inputs, width, halves, size.deep))
            inputs = width
    return drawn(Stack([*parts, fires(), averaged(inputs, classes, 0.2 if size.deep else 0.0)], shape), seed)


def stem(channels: int, size: Size) -> list[nn.Module]:
    """Return the convolutions in front, which no neuron follows."""
    first = size.widths[0]
    if size.small:
        return [Stateless(convolved(channels, first, 3, scale=SCALE))]
    if not size.deep:
        return [Stateless(convolved(channels, first, 7, 2, scale=SCALE))]
    more = [nn.Conv2d(channels, first, 3, 2, 1), nn.Conv2d(first, first, 3, 1, 1)]
    return [Stateless(nn.Sequential(*more, *convolved(first, first, 3, bias=True, scale=SCALE)))]


def fires() -> Neurons:
    """Return neurons in front of a convolution."""
    return Neurons(Population(MSLIF(), 1.0))


def ending(width: int) -> Stateless:
    """Return the last convolution of a branch, whose gain starts at 0."""
    return Stateless(convolved(width, width, 3, scale=0.0))


def block(branch: list[nn.Module], inputs: int, width: int, halves: bool, deep: bool) -> Joined:
    """Return a block: a branch, whose last convolution starts with a gain of 0, and the shortcut that fits it."""
    if not halves:
        return Joined(branch, [], add)
    if deep:
        way = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), *convolved(inputs, width, 1, scale=SCALE))
    else:
        way = convolved(inputs, width, 1, 2, scale=SCALE)
    return Joined(branch, [Stateless(way)], add)
