"""ORRC: residual networks whose branches are joined by OR, with attention gates, so that every sum stays binary."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from rules.errors import unknown
from sandbox.networks.convolutions import averaged, convolved, drawn, require_image, sized, spiking
from sandbox.networks.gates import Gate
from sandbox.networks.joins import JOINS
from sandbox.networks.kinds import lif
from sandbox.networks.parts import Joined, Neurons, Stack, Stateless
from sandbox.networks.population import Population

NONE = "none"
PRUNABLE = ("or", "add")  # joins with a silent shortcut that are the branch alone
WIDTHS = (64, 128, 256, 512)
AT_ONCE = 2.0  # the current at which a neuron at rest fires in its first step


@dataclass(frozen=True)
class Size:
    """Channels of each stage, stem (kernel, stride, a pool behind it, the width it averages to), and initial gains."""

    widths: tuple[int, ...] = WIDTHS
    kernel: int = 3
    stride: int = 1
    pool: bool = False
    side: int | None = None
    gain: float = 1.0


SIZES: dict[int | str, Size] = {
    "tiny": Size((16, 32), gain=AT_ONCE),
    "mnist": Size(),
    "cifar10": Size(),
    "cifar10_dvs": Size(stride=2, pool=True, side=48),
    "dvs_gesture": Size(kernel=7, stride=2, pool=True),
}


def orrc_resnet(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str = "tiny",
    connect: str = "or",
    *,
    backbone: str | None = None,
    shortcut: str | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Stack:
    """Build an ORRC-ResNet of LIF neurons, with a residual block at each change of width.

        stage 1    four convolutions with neurons, no shortcut
        stage k    output = OR( [conv, conv](x), conv(x) ), then two more convolutions without a shortcut

    Behind the stem every convolution sees zeros and ones. Gates (`Gate`) stand between normalisation and neuron: an
    analogue one in front of the last neuron of each pair of convolutions, our reading of the eight gates that the
    authors' file enables, and a spiking one in each shortcut. A shortcut whose gate never opens is pruned by
    `prune_silent`.

    Args:
        shape: of an image `(C, H, W)`.
        classes: number of outputs.
        size: "mnist", "cifar10", "cifar10_dvs", "dvs_gesture", or "tiny", which is ours: two stages, and
            initial gains of 2, so that neurons fire within a few steps.
        connect: "or"; "add" or "none" (no shortcuts) to compare with.
        backbone: axis of the gates of branches, "time", "channel" or "space"; None for no gates.
        shortcut: axis of the gates of shortcuts; None for no gates.
        steps: of a sequence, which gates over time need.
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown size, join or axis, a gate over time without steps, and in a call for another number
            of steps.

    >>> import torch
    >>> net = orrc_resnet((1, 8, 8), 10, backbone="time", shortcut="time", steps=4)
    >>> net(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Shan et al. 2023 (arXiv 2311.06570), from the authors' code.
    """
    require_image(shape)
    chosen = sized("size", size, SIZES)
    if connect not in (*PRUNABLE, NONE):
        raise unknown("connect", connect, [*PRUNABLE, NONE])
    parts = stem(shape[0], chosen)
    inputs = chosen.widths[0]
    for width in chosen.widths:
        if width == inputs:
            parts += pair(width, width, 1, chosen.gain, backbone, steps)
        else:
            branch = pair(inputs, width, 2, chosen.gain, backbone, steps)
            way = (
                None
                if connect == NONE
                else gated(convolved(inputs, width, 1, 2, scale=chosen.gain), width, shortcut, True, steps)
            )
            parts.append(Joined(branch, way, JOINS["or" if connect == NONE else connect]))
        parts += pair(width, width, 1, chosen.gain, backbone, steps)
        inputs = width
    return drawn(Stack([*parts, averaged(inputs, classes)], shape), seed)


def stem(channels: int, size: Size) -> list[nn.Module]:
    """Return what stands in front of the first stage."""
    first: list[nn.Module] = [] if size.side is None else [Stateless(nn.AdaptiveAvgPool2d(size.side))]
    last: list[nn.Module] = [Stateless(nn.MaxPool2d(3, 2, 1))] if size.pool else []
    return [
        *first,
        spiking(convolved(channels, size.widths[0], size.kernel, size.stride, scale=size.gain), lif()),
        *last,
    ]


def pair(inputs: int, width: int, stride: int, gain: float, axis: str | None, steps: int | None) -> list[nn.Module]:
    """Return two convolutions with neurons, the second one gated."""
    first = spiking(convolved(inputs, width, 3, stride, scale=gain), lif())
    return [first, *gated(convolved(width, width, 3, scale=gain), width, axis, False, steps)]


def gated(synapse: nn.Module, width: int, axis: str | None, binary: bool, steps: int | None) -> list[nn.Module]:
    """Return a convolution and its neurons, with a gate between them unless the axis is None."""
    if axis is None:
        return [spiking(synapse, lif())]
    return [Stateless(synapse), Gate(axis, binary, width, steps), Neurons(Population(lif(), 1.0))]
