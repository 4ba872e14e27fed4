"""SpikeSCR: a spiking conformer for speech, with attention between steps and convolutions along time."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sandbox.networks.along_time import Along, StepAttention
from sandbox.networks.convolutions import drawn, sized, xavier
from sandbox.networks.dense import Channels, normalised
from sandbox.networks.joins import add, both
from sandbox.networks.kinds import Given
from sandbox.networks.models.speech import Builder, builder, cell
from sandbox.networks.parts import Joined, Stack, Stateless


@dataclass(frozen=True)
class Size:
    """Blocks, channels, heads, and the units inside a feed-forward part per channel.

    Attributes:
        depth: number of blocks.
        width: channels D.
        heads: of attention; each has an even number of channels.
        ratio: of the units inside a feed-forward part to D.
        kernel: steps that the depthwise convolution weighs, odd.
    """

    depth: int
    width: int
    heads: int
    ratio: int
    kernel: int = 31


SIZES: dict[int | str, Size] = {
    "tiny": Size(1, 32, 4, 1, 7),
    "shd": Size(1, 128, 8, 1),
    "ssc": Size(2, 256, 16, 4),
    "ssc-1": Size(1, 256, 16, 4),
}


def spikescr(
    shape: tuple[int, ...] = (140,),
    classes: int = 20,
    size: str | Size = "tiny",
    *,
    dropout: float = 0.1,
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a SpikeSCR: blocks of attention between steps, a gated convolution along time, and feed-forward parts.

        x = SN(BN(conv3(x)))
        x = x + SN(BN(W attention(x)));  x = x + MLP(x);  x = x + C(x);  x = x + MLP(x)        each block
        MLP(x) = SN(BN(W2 SN(BN(W1 x))))
        C(x) = SN(a SN(BN(W SN(b)))),    a, b = halves of BN(W2 SN(BN(depthwise(SN(BN(W1 x))))))

    Nothing depends on the number of steps, so that weights learned at many steps run at few. It sees the whole sequence
    at once, and takes `lengths` where sequences are padded; in training, means and variances of normalisations include
    the padding, as in the authors' code. "tiny" is ours.

    Args:
        shape: `(channels,)` of one step.
        classes: number of outputs.
        size: "shd", "ssc" (two blocks, also for GSC), "ssc-1", "tiny", or a `Size` of your own.
        dropout: share of units that are dropped behind neurons in training, for a whole sequence; 0.1 by default.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for the LIF of
            the paper, `v <- v / 2 + current`.
        seed: of the initial weights.

    Returns: A model whose output `[T, B, classes]` the paper sums over time behind a softmax (objective `kdcl`).

    Raises:
        ValueError: for an unknown size or neuron, a shape that is not one of channels, and heads that do not divide D
            into even parts.

    >>> import torch
    >>> spikescr((10,), 4)(torch.rand(12, 2, 10)).output.shape
    torch.Size([12, 2, 4])

    Reference: Wang et al. 2024 (arXiv 2412.12858), from the authors' code, where the neurons behind rotated queries and
    keys walk over the samples of a batch in place of time; here they walk over time.
    """
    chosen = sized("size", size, SIZES)
    build = builder(shape, chosen.width, chosen.heads, neuron, cell(), dropout, seed)
    if chosen.width // chosen.heads % 2:
        raise ValueError(f"width={chosen.width}, heads={chosen.heads}: give heads with an even number of channels")
    parts = build.along(Along(shape[0], chosen.width, 3))
    for _ in range(chosen.depth):
        projected = build.dense(chosen.width, chosen.width, bias=True)
        parts.append(Joined([attending(build, chosen.heads), *build.dropped(), *projected], [], add))
        for inner in (feed_forward(build, chosen), convolving(build, chosen.kernel), feed_forward(build, chosen)):
            parts.append(Joined(inner, [], add))
    return drawn(Stack([*parts, *build.dropped(), build.readout(classes)], shape), seed, xavier)


def attending(build: Builder, heads: int) -> StepAttention:
    """Return attention between steps, in front of its projection."""
    sources = {name: build.dense(build.width, build.width, bias=True)[:1] for name in ("query", "key", "value")}
    again = (build.cells.population(heads), build.cells.population(heads))
    return StepAttention(sources, heads, again, build.cells.population(heads))


def feed_forward(build: Builder, size: Size) -> list[nn.Module]:
    """Return two dense layers."""
    inside = size.width * size.ratio
    return [*build.dense(size.width, inside), *build.dense(inside, size.width)]


def convolving(build: Builder, kernel: int) -> list[nn.Module]:
    """Return the convolution module: a depthwise convolution along time, and a gate of one half for the other."""
    width = build.width
    gate = [Stateless(Channels(width, 2 * width)), build.cells.fires(width), *build.dense(width, width, bias=True)[:1]]
    return [
        *build.dense(width, width, bias=True),
        *build.along(Along(width, width, kernel, groups=width, bias=False)),
        Stateless(normalised(width, 2 * width, bias=True)),
        Joined(gate, [Stateless(Channels(0, width))], both),
        build.cells.fires(width),
        *build.dropped(),
    ]
