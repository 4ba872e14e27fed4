"""Networks with multiscale attention: a VGG with spiking features, and an MS-ResNet with rectified ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sandbox.networks.convolutions import averaged, convolved, drawn, require_image, sized, spiking
from sandbox.networks.kinds import lif
from sandbox.networks.models import ms
from sandbox.networks.multiscale import MultiscaleAttention
from sandbox.networks.named import named
from sandbox.networks.parts import Stack, Stateless
from sandbox.networks.zoneout import ZONEOUTS, ZoneOut
from sandbox.neurons import MSLIF

ATTENDED = 2  # blocks of each stage of a residual network, from the first on


@dataclass(frozen=True)
class Size:
    """Channels of the convolutions, the numbers of those with attention, and units of the dense layers."""

    widths: tuple[int, ...]
    attended: tuple[int, ...]
    dense: tuple[int, ...]
    side: int  # that maps are averaged to in front of the dense layers
    gain: float = 1.0  # of normalisations, at first


SIZES: dict[int | str, Size] = {
    "tiny": Size((8, 16), (1,), (), 1, gain=2.0),  # a current of 2 makes a neuron fire in its first step
    "vgg8": Size((64, 128, 256, 512, 512), (1, 2), (2048, 1024), 3),
}


def sma_vgg(
    shape: tuple[int, int, int] = (2, 48, 48),
    classes: int = 10,
    size: str = "tiny",
    steps: int = 4,
    *,
    attention: bool = True,
    reduction: int = 4,
    time_reduction: float = 4,
    zoneout: str | Mapping[str, Any] | None = None,
    dropout: float = 0.5,
    seed: int = 0,
) -> Stack:
    """Build a spiking VGG with multiscale attention between convolution and normalisation of its middle blocks.

    A block is a 3 x 3 convolution, normalisation, LIF neurons, and a maximum over 2 x 2 places. "tiny" is ours: 8 and
    16 channels, attention in the second block, one dense layer, and initial gains of 2.

    Args:
        shape: of a frame `(C, H, W)`.
        classes: number of outputs.
        size: "vgg8" or "tiny".
        steps: of a sequence, which the attention is built for.
        attention: False for the backbone alone.
        reduction: of channels inside the attention.
        time_reduction: of steps inside the attention.
        zoneout: in training, a name of `sandbox list zoneout` such as "azo", or `{"name": "azo", "options": {...}}`;
            None for none.
        dropout: in front of the later dense layers, 0.5 by default.
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown size or zoneout, a frame that is too small, and in a call for other steps.

    >>> import torch
    >>> sma_vgg((1, 8, 8), 10, zoneout="azo")(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Shan et al. 2025 (arXiv 2405.13672), from the authors' code.
    """
    require_image(shape)
    chosen = sized("size", size, SIZES)
    if min(shape[1:]) < 2 ** len(chosen.widths):
        raise ValueError(f"shape={tuple(shape)}: {len(chosen.widths)} pools need frames of {2 ** len(chosen.widths)}")
    zoned = found(zoneout)
    parts: list[nn.Module] = []
    inputs = shape[0]
    for number, width in enumerate(chosen.widths):
        synapse = convolved(inputs, width, 3, bias=True, scale=chosen.gain)
        if attention and number in chosen.attended:
            sma = MultiscaleAttention(width, steps, reduction=reduction, time_reduction=time_reduction, zoneout=zoned)
            parts += [Stateless(synapse[0]), sma, spiking(synapse[1], lif())]
        else:
            parts.append(spiking(synapse, lif()))
        parts.append(Stateless(nn.MaxPool2d(2)))
        inputs = width
    return drawn(Stack([*parts, *dense(inputs, classes, chosen, dropout)], shape), seed)


def dense(channels: int, classes: int, size: Size, dropout: float) -> list[nn.Module]:
    """Return the dense layers, with neurons between them."""
    if not size.dense:
        return [averaged(channels, classes)]
    front: list[nn.Module] = [nn.AdaptiveAvgPool2d(size.side), nn.Flatten()]
    parts: list[nn.Module] = []
    inputs = channels * size.side**2
    for units in size.dense:
        parts.append(spiking(nn.Sequential(*front, nn.Linear(inputs, units)), lif()))
        front, inputs = [nn.Dropout(dropout)], units
    return [*parts, Stateless(nn.Sequential(*front, nn.Linear(inputs, classes)))]


def sma_resnet(
    shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    depth: int | str = "tiny",
    steps: int = 4,
    *,
    reduction: int = 4,
    time_reduction: float = 1.5,
    zoneout: str | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Stack:
    """Build an MS-ResNet with multiscale attention behind the first convolution of two blocks of every stage.

    The features are rectified instead of spiking, as in the authors' file, which is for 18 layers. Which blocks of the
    published deeper networks have attention is not stated; here it is the first two of each stage.

    Args:
        shape: of an image `(C, H, W)`.
        classes: number of outputs.
        depth: "tiny", 18, 34 or 104.
        steps: of a sequence, which the attention is built for.
        reduction: of channels inside the attention.
        time_reduction: of steps inside the attention, 1.5 by default.
        zoneout: in training, as in `sma_vgg`.
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown depth or zoneout, and in a call for another number of steps.

    >>> import torch
    >>> sma_resnet((1, 8, 8), 10)(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Shan et al. 2025 (arXiv 2405.13672) on Hu et al. 2024 (arXiv 2112.08954), from the authors' code.
    """
    require_image(shape)
    size = sized("depth", depth, ms.DEPTHS)
    zoned = found(zoneout)
    parts = ms.stem(shape[0], size)
    inputs = size.widths[0]
    for count, width in zip(size.blocks, size.widths, strict=True):
        for number in range(count):
            first = convolved(inputs, width, 3, 1 + (not number), scale=ms.SCALE)
            middle: list[nn.Module] = [spiking(first, MSLIF())]
            if number < ATTENDED:
                sma = MultiscaleAttention(
                    width,
                    steps,
                    reduction=reduction,
                    time_reduction=time_reduction,
                    spiking=False,
                    zoneout=zoned,
                )
                middle = [Stateless(first[0]), sma, spiking(first[1], MSLIF())]
            branch = [ms.fires(), *middle, ms.ending(width)]
            parts.append(ms.block(branch, inputs, width, not number, size.deep))
            inputs = width
    return drawn(Stack([*parts, ms.fires(), averaged(inputs, classes, 0.2 if size.deep else 0.0)], shape), seed)


def found(zoneout: str | Mapping[str, Any] | None) -> ZoneOut | None:
    """Return the zoneout of a name, or of a name with options; raise ValueError for an unknown one."""
    return None if zoneout is None else named("zoneout", zoneout, ZONEOUTS)
