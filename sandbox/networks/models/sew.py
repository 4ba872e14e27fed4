"""SEW-ResNet: spiking residual networks whose branches are joined after the neurons, spike by spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from rules.errors import unknown
from sandbox.networks.convolutions import averaged, convolved, drawn, require_image, sized, spiking
from sandbox.networks.joins import JOINS
from sandbox.networks.kinds import SIGMOID
from sandbox.networks.parts import Joined, Stack, Stateless
from sandbox.neurons import IF, PLIF


@dataclass(frozen=True)
class Size:
    """Blocks and channels of each stage; `deep` blocks have three convolutions, and a small stem keeps the image."""

    blocks: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    deep: bool = False
    small: bool = False


DEPTHS: dict[int | str, Size] = {
    "tiny": Size((1, 1), (16, 32), small=True),
    18: Size((2, 2, 2, 2)),
    34: Size((3, 4, 6, 3)),
    50: Size((3, 4, 6, 3), deep=True),
    101: Size((3, 4, 23, 3), deep=True),
    152: Size((3, 8, 36, 3), deep=True),
}
EXPANSION = 4  # of the last convolution of a deep block


def sew_resnet(
    shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    depth: int | str = "tiny",
    connect: str = "add",
    *,
    zero_init: bool = False,
    seed: int = 0,
) -> Stack:
    """Build a SEW-ResNet of integrate-and-fire neurons.

        A = SN(BN(conv(SN(BN(conv(S))))),    I = S, or SN(BN(conv(S))) where the shape changes
        output = add: A + I,   and: A I,   iand: (1 - A) I,   or: A + I - A I

    `add` makes integers, of at most one more than the blocks of a stage; the others stay binary. The stem is computed
    once if the input is constant in time. "tiny" is ours: a 3 x 3 stem with a pool, and two blocks of 16 and 32
    channels.

    Args:
        shape: of an image `(C, H, W)`.
        classes: number of outputs.
        depth: "tiny", 18, 34, 50, 101 or 152.
        connect: how the branches are joined: "add", "and", "iand" or "or".
        zero_init: start with blocks that pass on their shortcut: the last gain of each branch is 0, and for "and" its
            offset 1.
        seed: of the initial weights.

    Returns: A model whose mean output over time is the published read-out.

    Raises:
        ValueError: for an unknown depth or join, and a shape that is not an image.

    >>> import torch
    >>> sew_resnet((1, 8, 8), 10)(torch.rand(1, 2, 1, 8, 8).expand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Fang et al. 2021 (arXiv 2102.04159), from the authors' code; "or" is that of Shan et al. 2023 (arXiv
    2311.06570).
    """
    require_image(shape)
    size = sized("depth", depth, DEPTHS)
    if connect not in JOINS:
        raise unknown("connect", connect, JOINS)
    first = size.widths[0]
    stem = convolved(shape[0], first, 3) if size.small else convolved(shape[0], first, 7, 2)
    pool = nn.MaxPool2d(2) if size.small else nn.MaxPool2d(3, 2, 1)
    parts: list[nn.Module] = [spiking(stem, neuron()), Stateless(pool)]
    inputs = first
    for stage, (count, width) in enumerate(zip(size.blocks, size.widths, strict=True)):
        for number in range(count):
            stride = 2 if stage and not number else 1
            parts.append(block(inputs, width, stride, connect, size.deep, zero_init))
            inputs = width * (EXPANSION if size.deep else 1)
    return drawn(Stack([*parts, averaged(inputs, classes)], shape), seed)


def neuron() -> IF:
    """Return the neuron of the networks for images."""
    return IF(surrogate=SIGMOID)


def block(inputs: int, width: int, stride: int, connect: str, deep: bool, zero_init: bool) -> Joined:
    """Return a block of two convolutions, or of three where it is `deep`."""
    outputs = width * (EXPANSION if deep else 1)
    if deep:
        branch = [convolved(inputs, width, 1), convolved(width, width, 3, stride), convolved(width, outputs, 1)]
    else:
        branch = [convolved(inputs, width, 3, stride), convolved(width, width, 3)]
    if zero_init:
        last: Any = branch[-1][1]
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 1.0 if connect == "and" else 0.0)
    same = inputs == outputs and stride == 1
    shortcut = [] if same else [spiking(convolved(inputs, outputs, 1, stride), neuron())]
    return Joined([spiking(part, neuron()) for part in branch], shortcut, JOINS[connect])


@dataclass(frozen=True)
class EventSize:
    """Channels of each stage, which ends with a pool."""

    widths: tuple[int, ...]


EVENT_SIZES: dict[int | str, EventSize] = {
    "tiny": EventSize((16, 16)),
    "7b": EventSize((32,) * 7),
    "wide_7b": EventSize((64,) * 4 + (128,) * 3),
}


def sew_event_net(
    shape: tuple[int, int, int] = (2, 128, 128),
    classes: int = 11,
    size: str = "tiny",
    connect: str = "add",
    *,
    seed: int = 0,
) -> Stack:
    """Build a SEW network for event data: stages of one block and a pool, of neurons that learn their time constant.

    A stage is a 1 x 1 convolution where the number of channels changes, a block of two 3 x 3 convolutions, and a
    maximum over 2 x 2 places.

    Args:
        shape: of a frame `(C, H, W)`.
        classes: number of outputs.
        size: "7b" (DVS Gesture), "wide_7b" (CIFAR10-DVS), or "tiny", which is ours.
        connect: how the branches are joined: "add", "and", "iand" or "or".
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown size or join, and frames that are too small for so many pools.

    >>> import torch
    >>> sew_event_net((2, 8, 8), 3)(torch.rand(4, 2, 2, 8, 8)).output.shape
    torch.Size([4, 2, 3])

    Reference: Fang et al. 2021 (arXiv 2102.04159), from the authors' code.
    """
    require_image(shape)
    widths = sized("size", size, EVENT_SIZES).widths
    if connect not in JOINS:
        raise unknown("connect", connect, JOINS)
    if min(shape[1:]) < 2 ** len(widths):
        raise ValueError(
            f"shape={tuple(shape)}: {len(widths)} pools need frames of {2 ** len(widths)} x, or size='tiny'"
        )
    parts: list[nn.Module] = []
    inputs = shape[0]
    for width in widths:
        if width != inputs:
            parts.append(spiking(convolved(inputs, width, 1), PLIF()))
        branch = [spiking(convolved(width, width, 3), PLIF()) for _ in range(2)]
        parts += [Joined(branch, [], JOINS[connect]), Stateless(nn.MaxPool2d(2))]
        inputs = width
    return drawn(Stack([*parts, averaged(inputs, classes)], shape), seed)
