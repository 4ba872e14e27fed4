"""Spikformer: spiking transformers with self-attention of spikes, whose blocks add spikes behind the neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sandbox.networks.attention import SCALE, SelfAttention
from sandbox.networks.convolutions import averaged, drawn, require_image, sized, transformer
from sandbox.networks.embeddings import splitting
from sandbox.networks.feed_forward import behind, pointwise
from sandbox.networks.joins import add
from sandbox.networks.kinds import Given, Kind, transformer_neurons
from sandbox.networks.parts import Joined, Stack

AT_ONCE = 2.0  # the current at which a neuron at rest fires in its first step
FOUR, TWO = (True,) * 4, (False, False, True, True)


@dataclass(frozen=True)
class Size:
    """Blocks, channels and heads, where the embedding pools, and what else differs between published files.

    Attributes:
        depth: number of blocks.
        width: channels D, a multiple of 8 and of the heads.
        heads: of the attention.
        pools: whether there is a pool at each of four places of the embedding.
        ratio: of the units inside the feed-forward part to D.
        scale: of the currents of attention.
        bias: whether the projections to queries, keys and values have biases.
        tau_mem: time constant of the neurons [ms].
        gain: initial gain of normalisations.
    """

    depth: int
    width: int
    heads: int
    pools: tuple[bool, bool, bool, bool] = FOUR
    ratio: int = 4
    scale: float = SCALE
    bias: bool = False
    tau_mem: float = 2.0
    gain: float = 1.0

    @property
    def patch(self) -> int:
        """Side of the patch of an image that becomes a token."""
        return int(2 ** sum(self.pools))


SIZES: dict[int | str, Size] = {
    "tiny": Size(2, 32, 4, TWO, scale=1.0, gain=AT_ONCE),
    "8-384": Size(8, 384, 6),
    "8-512": Size(8, 512, 8),
    "8-768": Size(8, 768, 12),
    "4-256": Size(4, 256, 8, TWO, bias=True),
    "2-384": Size(2, 384, 12, TWO, bias=True),
    "4-384": Size(4, 384, 12, TWO, bias=True),
    "2-256": Size(2, 256, 16, scale=0.25),
}


def spikformer(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str | Size = "tiny",
    *,
    bias: bool | None = None,
    cml: bool = False,
    order: Literal["kv", "qk", "cheaper"] = "kv",
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a Spikformer: blocks of spiking self-attention and a feed-forward part, which add spikes.

        x = x + SN(BN(W SSA(x))),    x = x + SN(BN(W2 SN(BN(W1 x))))

    Sums are integers, up to 2 behind the embedding and two more behind each block. "tiny" is ours: two blocks of 32
    channels, initial gains of 2, so that neurons fire within a few steps, and a scale of 1 in attention of few tokens.

    Args:
        shape: of an image `(C, H, W)`, whose sides are multiples of 16; of 4 for "4-256", "2-384", "4-384" and "tiny".
        classes: number of outputs.
        size: "8-384", "8-512" or "8-768" (ImageNet), "4-256", "2-384" or "4-384" (CIFAR), "2-256" (event data), "tiny",
            or a `Size` of your own.
        bias: whether the projections to queries, keys and values have biases; None for what the authors' file of the
            size has: dense layers with biases for CIFAR, convolutions without for others.
        cml: pool currents in place of spikes in the embedding.
        order: of the products of attention: "kv" is linear in the number of tokens, "qk" in the width of a head.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for the LIF of
            the paper, with a threshold of 0.5 behind attention.
        seed: of the initial weights.

    Returns: A model whose mean output over time is the published read-out.

    Raises:
        ValueError: for an unknown size, order or neuron, and an image that patches do not divide.

    >>> import torch
    >>> spikformer((1, 8, 8), 10)(torch.rand(1, 2, 1, 8, 8).expand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Zhou et al. 2023 (arXiv 2209.15425), from the authors' code, without its normalisations that are never
    used; heads of 64 channels for ImageNet, of which the code has "8-512" alone, are our reading of the others.
    """
    chosen = sized("size", size, SIZES)
    require_image(shape, chosen.patch)
    cells = transformer_neurons(neuron, chosen.tau_mem, seed)
    scale = chosen.gain * cells.gain
    parts = splitting(shape[0], chosen.width, chosen.pools, cells, scale, cml)
    for _ in range(chosen.depth):
        attention = attended(chosen, cells, chosen.bias if bias is None else bias, order)
        project = cells.spiking(pointwise(chosen.width, chosen.width, scale), chosen.width)
        parts.append(Joined([attention, project], [], add))
        parts.append(Joined(behind(chosen.width, chosen.ratio, cells, scale), [], add))
    return drawn(Stack([*parts, averaged(chosen.width, classes)], shape), seed, transformer)


def attended(size: Size, cells: Kind, bias: bool, order: Literal["kv", "qk", "cheaper"]) -> SelfAttention:
    """Return spiking self-attention of D channels, in front of its last projection."""
    require_heads(size.width, size.heads)
    scale = size.gain * cells.gain
    sources = {
        name: [cells.spiking(pointwise(size.width, size.width, scale, bias), size.width)]
        for name in ("query", "key", "value")
    }
    return SelfAttention(sources, size.heads, cells.attends(size.heads), size.scale * cells.drive, order)


def require_heads(width: int, heads: int) -> None:
    """Raise ValueError for channels that cannot be divided among heads, or by the embedding."""
    if width % heads or width % 8:
        raise ValueError(f"width={width}, heads={heads}: give a width that is a multiple of the heads and of 8")
