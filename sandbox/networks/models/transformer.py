"""A transformer of numbers, not of spikes: a causal language model in the layout of OPT, as teacher and baseline."""

from __future__ import annotations

import math

from torch import nn

from sandbox.networks.competitions import Softmax
from sandbox.networks.convolutions import sized
from sandbox.networks.language import Block, Size, TokenModel
from sandbox.networks.models.text import drawn, require_tokens
from sandbox.networks.parts import Stateless
from sandbox.networks.token_attention import TokenAttention

SIZES: dict[int | str, Size] = {
    "tiny": Size(2, 64, 4, 4, 128),
    "small": Size(4, 128, 8, 4, 256),
    "opt-125m": Size(12, 768, 12, 4, 2050),
}
GAIN = math.sqrt(0.5)  # initial deviation of what a dense layer puts out, and of an embedded token at its place


def transformer(
    shape: tuple[int, ...] = (), classes: int = 64, size: str | Size = "tiny", *, tied: bool = True, seed: int = 0
) -> TokenModel:
    """Build a causal transformer: softmax attention and two dense layers with ReLU, each behind a normalisation.

        x = x + W_o softmax(q k' / sqrt(d)) v,    q, k, v = W LN(x)
        x = x + W2 relu(W1 LN(x))                                        each block

    It has as many weights as OPT, and tells the same internals as the spiking models of text, so that it can teach them
    (objective `spad`). Initial weights suit narrow models: with a deviation of 0.02, as OPT has it at 768 channels, two
    layers of 64 channels take long to learn to look up. "tiny" and "small" are ours.

    Args:
        shape: `()`: a token is a whole number.
        classes: number of tokens, and of outputs.
        size: "tiny", "small", "opt-125m", or a `Size` of your own.
        tied: whether tokens are scored by their embeddings; rules that need a module for each weight want False.
        seed: of the initial weights.

    Returns: A causal `TokenModel`.

    Raises:
        ValueError: for an unknown size, and a shape that is not that of tokens.

    >>> import torch
    >>> transformer(classes=10)(torch.arange(6)[:, None]).output.shape
    torch.Size([6, 1, 10])

    Reference: Vaswani et al. 2017 (arXiv 1706.03762); the layout of Zhang et al. 2022 (arXiv 2205.01068), recalled.
    """
    require_tokens(shape, classes)
    chosen = sized("size", size, SIZES)
    model = TokenModel([_block(chosen) for _ in range(chosen.depth)], chosen, classes, tied=tied)
    return drawn(model, seed, GAIN, square=1.0)


def _block(size: Size) -> Block:
    width, inside = size.width, size.ratio * size.width
    sources = {name: [Stateless(nn.Linear(width, width))] for name in ("query", "key", "value")}
    behind = [Stateless(nn.Linear(width, width))]
    scale = 1 / math.sqrt(width // size.heads)
    attention = TokenAttention(sources, size.heads, Softmax(), behind, causal=True, scale=scale)
    dense = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inside), nn.ReLU(), nn.Linear(inside, width))
    return Block([Stateless(nn.LayerNorm(width))], attention, [Stateless(dense)])
