"""SpikCommander: a spiking transformer for speech with attention in linear time, seen in three ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from sandbox.networks.along_time import Along
from sandbox.networks.convolutions import drawn, sized, xavier
from sandbox.networks.dense import Channels
from sandbox.networks.joins import add, beside
from sandbox.networks.kinds import Given
from sandbox.networks.models.speech import Builder, builder, cell
from sandbox.networks.parts import Joined, Stack, Stateless
from sandbox.networks.temporal_gates import VIEWS, TemporalGates

REST = 0.5  # potential to which neurons leak, from which they start, and to which they are reset


@dataclass(frozen=True)
class Size:
    """Blocks, channels, heads, and what else differs between published files.

    Attributes:
        depth: number of blocks.
        width: channels D.
        heads: of attention.
        ratio: of the units inside the feed-forward part to D.
        kernel: steps and channels of a head that the convolution of the value weighs, both odd.
        fires_first: whether there are neurons in front of queries, keys and values.
        reach: steps on both sides of the window of the local gate.
        context: steps that the depthwise convolution of the feed-forward part weighs, odd.
    """

    depth: int
    width: int
    heads: int
    ratio: int
    kernel: tuple[int, int]
    fires_first: bool = False
    reach: int = 20
    context: int = 31


SIZES: dict[int | str, Size] = {
    "tiny": Size(1, 32, 4, 1, (9, 1), fires_first=True, reach=5, context=7),
    "shd": Size(1, 128, 8, 1, (9, 1), fires_first=True),
    "ssc-1": Size(1, 256, 16, 4, (7, 1)),
    "ssc-2": Size(2, 256, 16, 4, (7, 1)),
    "gsc-1": Size(1, 256, 16, 4, (9, 3)),
    "gsc-2": Size(2, 256, 16, 4, (9, 3)),
}


def spikcommander(
    shape: tuple[int, ...] = (140,),
    classes: int = 20,
    size: str | Size = "tiny",
    *,
    views: Sequence[str] = VIEWS,
    dropout: float = 0.1,
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a SpikCommander: blocks of multi-view attention (`TemporalGates`) and a feed-forward part with context.

        e = SN(BN(depthwise7(W x)));    x = e + SN(BN(W e))
        x = x + MSTASA(x);    x = x + SN(BN(W4 SN(BN(W3 [a, SN(BN(depthwise(b)))]))))        each block
        b, a = halves of SN(BN(W2 SN(BN(W1 x))))

    Neurons leak towards 0.5, start there and are reset to it, so that one at rest fires at a current of 0.5. The model
    sees the whole sequence at once, and takes `lengths` where sequences are padded; in training, means and variances of
    normalisations include the padding, as in the authors' code. "tiny" is ours.

    Args:
        shape: `(channels,)` of one step.
        classes: number of outputs.
        size: "shd", "ssc-1", "ssc-2", "gsc-1", "gsc-2", "tiny", or a `Size` of your own.
        views: of attention: "local", "global" and "value" by default.
        dropout: share of units that are dropped behind neurons in training, for a whole sequence; 0.1 by default.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for the LIF of
            the paper.
        seed: of the initial weights.

    Returns: A model whose output `[T, B, classes]` the paper sums over time behind a softmax (objective `kdcl`).

    Raises:
        ValueError: for an unknown size, view or neuron, a shape that is not one of channels, and heads that do not
            divide D.

    >>> import torch
    >>> spikcommander((10,), 4)(torch.rand(12, 2, 10)).output.shape
    torch.Size([12, 2, 4])

    Reference: Wang et al. 2026 (arXiv 2511.07883), from the authors' code.
    """
    chosen = sized("size", size, SIZES)
    build = builder(shape, chosen.width, chosen.heads, neuron, cell(REST), dropout, seed)
    width = chosen.width
    parts: list[nn.Module] = [Stateless(nn.Linear(shape[0], width))]
    parts += build.along(Along(width, width, 7, groups=width, bias=False))
    parts.append(Joined(build.dense(width, width), [], add))
    for _ in range(chosen.depth):
        front = [build.cells.fires(width)] if chosen.fires_first else []
        parts.append(Joined([*front, attending(build, chosen, views)], [], add))
        parts.append(Joined(refining(build, chosen), [], add))
    return drawn(Stack([*parts, *build.dropped(), build.readout(classes)], shape), seed, xavier)


def attending(build: Builder, size: Size, views: Sequence[str]) -> TemporalGates:
    """Return multi-view attention."""
    width, population = size.width, build.cells.population
    sources = {name: build.dense(width, width)[:1] for name in ("query", "key", "value")}
    cells = (population(size.heads), population(size.heads), population(size.heads))
    first = [*build.dropped(), *build.dense(width, width)]
    return TemporalGates(sources, size.heads, cells, (first, build.dense(width, width)), size.reach, size.kernel, views)


def refining(build: Builder, size: Size) -> list[nn.Module]:
    """Return the feed-forward part with context (SCR-MLP): half of its units see their neighbours in time."""
    width, inside = size.width, size.width * size.ratio
    half = inside // 2
    context = build.along(Along(half, half, size.context, groups=half, bias=False), half)
    return [
        *build.dense(width, width, bias=True),
        *build.dense(width, inside),
        Joined([Stateless(Channels(0, half)), *context], [Stateless(Channels(half, inside))], beside),
        *build.dense(inside, width),
        *build.dense(width, width, bias=True),
    ]
