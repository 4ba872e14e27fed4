"""QKFormer: hierarchical spiking transformers with query-key attention in their early stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from rules.errors import unknown
from sandbox.networks.attention import SCALE, ChannelGate, TokenGate
from sandbox.networks.convolutions import averaged, convolved, drawn, require_image, sized, transformer
from sandbox.networks.embeddings import deformed, halving
from sandbox.networks.feed_forward import behind, pointwise
from sandbox.networks.joins import add
from sandbox.networks.kinds import Given, Kind, transformer_neurons
from sandbox.networks.models.spikformer import AT_ONCE, attended, require_heads
from sandbox.networks.models.spikformer import Size as Attended
from sandbox.networks.parts import Joined, Stack

GATES = {"token": TokenGate, "channel": ChannelGate}


@dataclass(frozen=True)
class Size:
    """Channels, blocks and heads of each stage, of which the last has self-attention, and the kind of embedding.

    Attributes:
        widths: channels of each stage.
        depths: blocks of each stage.
        heads: of each stage.
        first: patches of the first stage: "image" (4 x 4), "small" (1 x 1) or "events" (8 x 8).
        pools_early: whether later stages pool behind their first convolution, and not behind their second.
        ratio: of the units inside the feed-forward part.
        scale: of the currents of self-attention.
        gain: initial gain of normalisations.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: int
    first: Literal["image", "small", "events"] = "image"
    pools_early: bool = False
    ratio: int = 4
    scale: float = SCALE
    gain: float = 1.0

    @property
    def patch(self) -> int:
        """Side of the patch of an image that becomes a token of the last stage."""
        return int(FIRST[self.first] * 2 ** (len(self.widths) - 1))


FIRST = {"image": 4, "small": 1, "events": 8}
SIZES: dict[int | str, Size] = {
    "tiny": Size((8, 16, 32), (1, 1, 1), 4, "small", scale=1.0, gain=AT_ONCE),
    "hst-10-384": Size((96, 192, 384), (1, 2, 7), 6, pools_early=True),
    "hst-10-512": Size((128, 256, 512), (1, 2, 7), 8, pools_early=True),
    "hst-10-768": Size((192, 384, 768), (1, 2, 7), 12, pools_early=True),
    "4-384": Size((96, 192, 384), (1, 1, 2), 8, "small"),
    "2-256": Size((128, 256), (1, 1), 16, "events", ratio=1),
}


def qkformer(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str | Size = "tiny",
    *,
    gate: Literal["token", "channel"] = "token",
    ratio: int | None = None,
    order: Literal["kv", "qk", "cheaper"] = "kv",
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a QKFormer: stages of growing width, with query-key gates, and self-attention in the last.

        x = x + SN(BN(W A(x))),    x = x + SN(BN(W2 SN(BN(W1 x))))

    A is `TokenGate` or `ChannelGate` in early stages, and `SelfAttention` in the last one. Each stage begins with
    convolutions and a deformed shortcut, `main(x) + SN(BN(conv(x)))`, so that sums are integers. "tiny" is ours: three
    stages of 8, 16 and 32 channels, initial gains of 2, and a scale of 1 in self-attention of few tokens.

    Args:
        shape: of an image `(C, H, W)`, whose sides are multiples of 16; of 4 for "4-384" and "tiny".
        classes: number of outputs.
        size: "hst-10-384", "hst-10-512" or "hst-10-768" (ImageNet), "4-384" (CIFAR), "2-256" (event data), "tiny", or a
            `Size` of your own.
        gate: over "token", as published, or over "channel".
        ratio: of the units inside the feed-forward part; None for that of the size, which is 1 for "2-256": the
            authors' file for DVS Gesture has 4, which does not give the published 1.50 million parameters.
        order: of the products of self-attention.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for the LIF of
            the paper, with a threshold of 0.5 behind attention.
        seed: of the initial weights.

    Returns: A model whose mean output over time is the published read-out.

    Raises:
        ValueError: for an unknown size, gate, order or neuron, a ratio below 1, and an image that patches do not
            divide.

    >>> import torch
    >>> qkformer((1, 8, 8), 10)(torch.rand(1, 2, 1, 8, 8).expand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Zhou et al. 2024 (arXiv 2403.16552), from the authors' code, whose last neurons of self-attention walk
    over the samples of a batch as if they were time; these do not.
    """
    chosen = sized("size", size, SIZES)
    if gate not in GATES:
        raise unknown("gate", gate, GATES)
    inner = chosen.ratio if ratio is None else ratio
    if inner < 1:
        raise ValueError(f"ratio={ratio}: give a whole number of at least 1, or None for that of the size")
    require_image(shape, chosen.patch)
    cells = transformer_neurons(neuron, seed=seed)
    scale = chosen.gain * cells.gain
    parts: list[nn.Module] = []
    inputs = shape[0]
    for stage, (width, depth) in enumerate(zip(chosen.widths, chosen.depths, strict=True)):
        last = stage == len(chosen.widths) - 1
        parts += (
            later(inputs, width, chosen, cells, scale) if stage else OPENINGS[chosen.first](inputs, width, cells, scale)
        )
        for _ in range(depth):
            attention: nn.Module = (
                attended(
                    Attended(depth, width, chosen.heads, scale=chosen.scale, gain=chosen.gain), cells, False, order
                )
                if last
                else gated(gate, width, chosen.heads, cells, scale)
            )
            project = cells.spiking(pointwise(width, width, scale), width)
            parts.append(Joined([attention, project], [], add))
            parts.append(Joined(behind(width, inner, cells, scale), [], add))
        inputs = width
    return drawn(Stack([*parts, averaged(inputs, classes)], shape), seed, transformer)


def gated(gate: str, width: int, heads: int, cells: Kind, scale: float) -> nn.Module:
    """Return query-key attention."""
    require_heads(width, heads)
    sources = {name: [cells.spiking(pointwise(width, width, scale, False), width)] for name in ("query", "key")}
    return GATES[gate](sources, heads, cells.attends(heads), cells.drive)


def conv(inputs: int, outputs: int, cells: Kind, scale: float, pool: bool) -> nn.Module:
    """Return a 3 x 3 convolution and neurons, with a pool of currents between them or without."""
    synapse = convolved(inputs, outputs, 3, scale=scale)
    return cells.spiking(nn.Sequential(synapse, halving()) if pool else synapse, outputs)


def image(inputs: int, width: int, cells: Kind, scale: float) -> list[nn.Module]:
    """Return the first stage of large images, 4 x 4 pixels a token."""
    half = width // 2
    main = [conv(half, width, cells, scale, True), conv(width, width, cells, scale, False)]
    return [conv(inputs, half, cells, scale, True), deformed(main, half, width, 2, cells, scale)]


def small(inputs: int, width: int, cells: Kind, scale: float) -> list[nn.Module]:
    """Return the first stage of small images, a pixel a token."""
    half = width // 2
    main = [conv(half, width, cells, scale, False)]
    return [conv(inputs, half, cells, scale, False), deformed(main, half, width, 1, cells, scale)]


def events(inputs: int, width: int, cells: Kind, scale: float) -> list[nn.Module]:
    """Return the first stage of event data, 8 x 8 pixels a token."""
    eighth, quarter, half = width // 8, width // 4, width // 2
    main = [conv(quarter, half, cells, scale, True), conv(half, width, cells, scale, True)]
    first = [conv(inputs, eighth, cells, scale, False), conv(eighth, quarter, cells, scale, True)]
    return [*first, deformed(main, quarter, width, 4, cells, scale)]


OPENINGS = {"image": image, "small": small, "events": events}


def later(inputs: int, width: int, size: Size, cells: Kind, scale: float) -> list[nn.Module]:
    """Return the beginning of a later stage, which halves the image."""
    early = size.pools_early
    main = [conv(inputs, width, cells, scale, early), conv(width, width, cells, scale, not early)]
    return [deformed(main, inputs, width, 2, cells, scale)]
