"""Spiking transformers whose attention lets winners take all: an encoder and a causal decoder of text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

from rules.errors import unknown
from sandbox.networks.competitions import Raw, Softmax, Sparsemax, Ties, Winners
from sandbox.networks.convolutions import sized
from sandbox.networks.kinds import Given, Kind, kind_of
from sandbox.networks.language import Block, Size, TokenModel
from sandbox.networks.models.text import again, drawn, require_tokens
from sandbox.networks.parts import Stateless
from sandbox.networks.token_attention import TokenAttention
from sandbox.neurons import NILIF
from sandbox.neurons.counting import Counting

Compete = Literal["wta", "top_k", "sparsemax", "softmax", "raw"]

SIZES: dict[int | str, Size] = {
    "tiny": Size(2, 64, 4, 4, 128),
    "small": Size(4, 128, 8, 4, 256),
    "bert-base": Size(12, 768, 12, 4, 512),
}


def competition(name: str, top: int, ties: Ties, temperature: float) -> nn.Module:
    """Return what takes the place of softmax; raise ValueError for an unknown name.

    >>> competition("top_k", 3, "recent", 1.0)
    Winners(
      count=3, ties='recent'
      (soft): Softmax(temperature=1.0)
    )
    """
    made: dict[str, Callable[[], nn.Module]] = {
        "wta": lambda: Winners(1, ties, temperature),
        "top_k": lambda: Winners(top, ties, temperature),
        "sparsemax": Sparsemax,
        "softmax": lambda: Softmax(temperature),
        "raw": Raw,
    }
    if name not in made:
        raise unknown("attention", name, get_args(Compete))
    return made[name]()


def we_spikingformer(
    shape: tuple[int, ...] = (),
    classes: int = 64,
    size: str | Size = "tiny",
    *,
    vocabulary: int | None = None,
    attention: Compete = "wta",
    top: int = 4,
    ties: Ties = "lowest",
    temperature: float = 1.0,
    spike_steps: int = 1,
    tied: bool = True,
    neuron: Given = None,
    seed: int = 0,
) -> TokenModel:
    """Build a winner-take-all encoder spikingformer: every token sees the whole text.

        q, k, v = SN(LN(W h)),    h = SN(x)
        A = winners of each row of s q k',    s the power of two next to 1 / sqrt(d), q and k counted in spikes
        x = x + LN(W_o SN(A v));    x = x + LN(W2 SN(LN(W1 SN(x))))        each block

    The stream is a membrane that adds up currents, so that every weight in a block sees spikes. It takes `lengths`
    where texts are padded. For masked tokens give as many classes as tokens, and for classes of texts a `vocabulary`.

    Args:
        shape: `()`: a token is a whole number.
        classes: number of outputs for each token.
        size: "tiny", "small", "bert-base" (as to layers, channels, heads and places), or a `Size` of your own.
        vocabulary: number of tokens; None for as many as classes, which are then scored by the embeddings.
        attention: "wta", "top_k", "sparsemax", "softmax", or "raw", the scores as they are.
        top: winners of "top_k".
        ties: which of equal scores wins: the one with the "lowest" index, the most "recent", or in training a "random"
            one.
        temperature: of the softmax whose gradient winners take, and of "softmax".
        spike_steps: steps that each token is shown.
        tied: whether as many classes as tokens are scored by the embeddings; rules that need a module for each weight
            want False.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for `nilif`,
            which puts out 0, 1/4, ... 1 in one step.
        seed: of the initial weights.

    Returns: A `TokenModel`.

    Raises:
        ValueError: for an unknown size, attention, way of breaking ties or neuron, a shape that is not that of tokens,
            fewer than one winner, and a temperature that is not above 0.

    >>> import torch
    >>> we_spikingformer(classes=3, vocabulary=10)(torch.arange(6)[:, None]).output.shape
    torch.Size([6, 1, 3])

    Reference: Zhou et al. 2026 (arXiv 2604.11321), known to us from its abstract and public reviews: the block is our
    reconstruction, the neuron that of Zhou et al. 2026 (arXiv 2604.12365), who list this model.
    """
    chosen = sized("size", size, SIZES)
    compete = competition(attention, top, ties, temperature)
    return _built(shape, classes, chosen, vocabulary, compete, False, spike_steps, tied, neuron, seed)


def wd_spikingformer(
    shape: tuple[int, ...] = (),
    classes: int = 64,
    size: str | Size = "tiny",
    *,
    attention: Compete = "wta",
    top: int = 4,
    ties: Ties = "recent",
    temperature: float = 1.0,
    spike_steps: int = 1,
    tied: bool = True,
    neuron: Given = None,
    seed: int = 0,
) -> TokenModel:
    """Build a winner-take-all decoder spikingformer: the blocks of `we_spikingformer`, in which no token looks ahead.

    Later tokens are left out before the competition, so that none of them can win. It continues from the carry of its
    run: keys and values of all tokens so far, and with "raw" attention one matrix for each head.

    Args:
        shape: `()`: a token is a whole number.
        classes: number of tokens, and of outputs.
        size: as `we_spikingformer`.
        attention: as `we_spikingformer`.
        top: winners of "top_k"; early tokens have as many as there are tokens to see.
        ties: as `we_spikingformer`, by default the most "recent".
        temperature: as `we_spikingformer`.
        spike_steps: steps that each token is shown.
        tied: as `we_spikingformer`.
        neuron: as `we_spikingformer`.
        seed: of the initial weights.

    Returns: A causal `TokenModel`.

    Raises:
        ValueError: as `we_spikingformer`.

    >>> import torch
    >>> model = wd_spikingformer(classes=10).eval()
    >>> text = torch.arange(6)[:, None]
    >>> first = model(text[:4])
    >>> rest = model(text[4:], first.carry)
    >>> torch.allclose(torch.cat([first.output, rest.output]), model(text).output, atol=1e-5)
    True

    Reference: as `we_spikingformer`.
    """
    chosen = sized("size", size, SIZES)
    compete = competition(attention, top, ties, temperature)
    return _built(shape, classes, chosen, None, compete, True, spike_steps, tied, neuron, seed)


def _built(
    shape: tuple[int, ...],
    classes: int,
    size: Size,
    vocabulary: int | None,
    compete: nn.Module,
    causal: bool,
    spike_steps: int,
    tied: bool,
    neuron: Given,
    seed: int,
) -> TokenModel:
    require_tokens(shape, classes if vocabulary is None else vocabulary)
    cells = kind_of(neuron, NILIF(), seed=seed)
    blocks = [_block(size, cells, compete, causal) for _ in range(size.depth)]
    outputs = None if vocabulary is None else classes
    model = TokenModel(blocks, size, vocabulary or classes, outputs, tied, spike_steps)
    return drawn(model, seed, 2 * cells.gain)


def _block(size: Size, cells: Kind, compete: nn.Module, causal: bool) -> Block:
    width, inside = size.width, size.ratio * size.width
    sources = {name: [cells.spiking(_dense(width, width, cells), width)] for name in ("query", "key", "value")}
    behind = [*again(cells, width, None), Stateless(_dense(width, width, cells))]
    spike = cells.usual.unit if isinstance(cells.usual, Counting) else 1.0
    scale = 2.0 ** -round(math.log2(math.sqrt(width // size.heads))) / spike**2
    attention = TokenAttention(sources, size.heads, compete, behind, causal, scale)
    feed = [
        cells.fires(width),
        cells.spiking(_dense(width, inside, cells), inside),
        Stateless(_dense(inside, width, cells)),
    ]
    return Block([cells.fires(width)], attention, feed)


def _dense(inputs: int, outputs: int, cells: Kind) -> nn.Sequential:
    """Return a dense layer and a normalisation of each token by itself, whose gain is twice the rheobase."""
    norm = nn.LayerNorm(outputs)
    nn.init.constant_(norm.weight, 2 * cells.gain)
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), norm)
