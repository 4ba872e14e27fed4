"""SNN-ViT: a family of spiking transformers with saccadic attention, reconstructed from summaries of its paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from rules.errors import unknown
from sandbox.networks.attention import SaccadicGate
from sandbox.networks.convolutions import averaged, drawn, require_image, sized, transformer
from sandbox.networks.embeddings import dilated, halving
from sandbox.networks.feed_forward import in_front, pointwise
from sandbox.networks.joins import add
from sandbox.networks.kinds import Given, Kind, transformer_neurons
from sandbox.networks.models.spikformer import AT_ONCE, require_heads
from sandbox.networks.parts import Joined, Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons import MaskedPSN

VERSIONS = {"1": ("query", "value", "key"), "2": ("query", "value")}


@dataclass(frozen=True)
class Size:
    """Blocks, channels and heads, and stages of the embedding, each of which halves the image."""

    depth: int
    width: int
    heads: int
    stages: int = 4
    ratio: int = 4
    gain: float = 1.0

    @property
    def patch(self) -> int:
        """Side of the patch of an image that becomes a token."""
        return int(2**self.stages)


SIZES: dict[int | str, Size] = {
    "tiny": Size(2, 32, 4, 2, gain=AT_ONCE),
    "8-384": Size(8, 384, 6),
    "8-512": Size(8, 512, 8),
}


def snn_vit(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str | Size = "tiny",
    steps: int = 4,
    *,
    version: Literal["1", "2"] = "2",
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a transformer with saccadic attention, a reconstruction: no code was published, and we read summaries.

        embedding    x = MP(BN(conv(SN(x))) + BN(conv of every second place(SN(x))))    SN from the second stage on
        block        x = x + BN(W SSSA(SN(x))),    x = x + BN(W2 SN(BN(W1 SN(x))))

    Attention looks at tokens by counts of spikes that are weighed over time (`SaccadicGate`). The published numbers of
    parameters, 30.4 million for "8-384" and 53.7 million for "8-512", are those of layers that we do not know; the
    models of these names here have fewer. Residual sums of real numbers, the order in the embedding, heads and
    widths of its stages are our choices. "tiny" is ours.

    Args:
        shape: of an image `(C, H, W)`, whose sides are multiples of 16; of 4 for "tiny".
        classes: number of outputs.
        size: "8-384", "8-512", "tiny", or a `Size` of your own.
        steps: of a sequence, the most that attention is built for.
        version: "2" without keys, or "1".
        neuron: of all but attention: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options":
            {...}}`; None for LIF.
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown size, version or neuron, an image that patches do not divide, and in a call for more
            steps.

    >>> snn_vit((1, 8, 8), 10)(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Wang et al. 2025 (arXiv 2502.12677), as two summaries and public reviews give it.
    """
    chosen = sized("size", size, SIZES)
    if version not in VERSIONS:
        raise unknown("version", version, VERSIONS)
    if steps < 1:
        raise ValueError(f"steps={steps}: give the number of steps of a sequence, at least 1")
    require_image(shape, chosen.patch)
    require_heads(chosen.width, chosen.heads)
    cells = transformer_neurons(neuron, seed=seed)
    scale = chosen.gain * cells.gain
    parts: list[nn.Module] = []
    inputs = shape[0]
    for stage in range(chosen.stages):
        width = chosen.width // 2 ** min(3, chosen.stages - 1 - stage)
        parts += [cells.fires(inputs)] if stage else []
        parts.append(Stateless(nn.Sequential(dilated(inputs, width, scale), halving())))
        inputs = width
    for _ in range(chosen.depth):
        attention = saccadic(chosen, cells, scale, VERSIONS[version], steps)
        project = Stateless(pointwise(inputs, inputs, scale))
        parts.append(Joined([cells.fires(inputs), attention, project], [], add))
        parts.append(Joined(in_front(inputs, chosen.ratio, cells, scale), [], add))
    return drawn(Stack([*parts, averaged(inputs, classes)], shape), seed, transformer)


def saccadic(size: Size, cells: Kind, scale: float, sources: tuple[str, ...], steps: int) -> SaccadicGate:
    """Return saccadic attention, whose matrix over time starts as the identity, with a threshold of one spike."""
    made = {name: [cells.spiking(pointwise(size.width, size.width, scale, False), size.width)] for name in sources}
    looks = MaskedPSN(steps, order=steps, weight=torch.eye(steps), v_threshold=torch.ones(steps))
    return SaccadicGate(made, size.heads, Population(looks, 1.0, None, cells.generator, size.heads))
