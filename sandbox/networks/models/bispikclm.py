"""BiSpikCLM: a causal language model whose spikes are bits and whose attention has no softmax."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from torch import nn

from rules.errors import unknown
from rules.spikes.surrogate import Surrogate
from sandbox.networks.convolutions import sized
from sandbox.networks.kinds import Given, Kind, kind_of
from sandbox.networks.language import Block, Size, TokenModel
from sandbox.networks.models.text import again, drawn, require_tokens
from sandbox.networks.token_attention import Fires, TokenAttention
from sandbox.neurons import PLIF
from sandbox.neurons.learnable import learns

BETA = 0.9  # share of the membrane that is kept
THRESHOLD = 0.7
FORMS = ("bits", "integers")

SIZES: dict[int | str, Size] = {
    "tiny": Size(2, 64, 4, 4, 128),
    "small": Size(4, 128, 8, 4, 256),
    "opt-125m": Size(12, 768, 12, 4, 2048),
}


def lif_with_late_reset(beta: float = BETA, threshold: float = THRESHOLD, alpha: float = 2.0) -> PLIF:
    """Return the LIF of the paper, `U[t] = I[t] + beta U[t-1] - threshold S[t-1]`, fires at `U >= threshold`.

    The leak does not reach what the reset subtracts. As `beta (U - threshold S / beta) + I`, it is a `PLIF` of a time
    constant `1 / (1 - beta)` whose reset subtracts `threshold / beta`.

    Raises:
        ValueError: for a share outside 0 to 1.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta={beta}: give the share of the membrane that is kept, above 0 and below 1")
    tau = 1 / (1 - beta)
    return PLIF(
        tau_mem=tau,
        r=tau,
        v_threshold=threshold,
        v_reset=threshold - threshold / beta,
        reset="subtract",
        surrogate=Surrogate("atan", alpha=alpha * threshold),
    )


def bispikclm(
    shape: tuple[int, ...] = (),
    classes: int = 64,
    size: str | Size = "tiny",
    *,
    spike_steps: int = 4,
    form: Literal["bits", "integers"] = "bits",
    attention_threshold: float | None = None,
    tied: bool = True,
    neuron: Given = None,
    seed: int = 0,
) -> TokenModel:
    """Build a BiSpikCLM: blocks of softmax-free spiking attention (SFSA) and two dense layers, in the layout of OPT.

        Q, K, V = SN(W x)                                        bits
        A = SN((Q K') where k <= q),    O = A V                  bits, and whole numbers
        y = SN(W_o SN(O))    or    y = SN(W_o O)                 form "bits" or "integers"
        x = x + SFSA(SN(x));    x = x + SN(W2 SN(W1 SN(x)))      each block

    SN is `lif_with_late_reset`. Nothing inside of attention is divided, exponentiated or normalised
    (`sandbox inspect` shows which operators run there). The mean over the spike steps is normalised and scored by the
    embeddings. "tiny" and "small" are ours.

    Args:
        shape: `()`: a token is a whole number.
        classes: number of tokens, and of outputs.
        size: "tiny", "small", "opt-125m", or a `Size` of your own.
        spike_steps: steps that each token is shown; 4 in the paper, and 2.
        form: whether the projection sees the bits of neurons behind `A V`, or the whole numbers themselves.
        attention_threshold: common spikes of a query and a key at which attention fires at once; None for half the root
            of the channels of a head.
        tied: whether tokens are scored by their embeddings; rules that need a module for each weight want False.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for the LIF of
            the paper.
        seed: of the initial weights.

    Returns: A causal `TokenModel`, which continues from the carry of its run, the keys and values of all tokens so far.

    Raises:
        ValueError: for an unknown size, form or neuron, a shape that is not that of tokens, and a threshold that is not
            above 0.

    >>> import torch
    >>> bispikclm(classes=10)(torch.arange(6)[:, None]).output.shape
    torch.Size([6, 1, 10])

    Reference: Guo et al. 2026 (arXiv 2605.13859), known to us from two third-party readings, one of which is an
    implementation with the form "bits". The threshold of attention, which they do not give, and the initial weights are
    our reconstruction: with a fixed one long rows are all ones.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    if attention_threshold is not None and not attention_threshold > 0:
        raise ValueError(f"attention_threshold={attention_threshold}: give a number of common spikes, above 0")
    chosen = sized("size", size, SIZES)
    require_tokens(shape, classes)
    needed = attention_threshold or math.sqrt(chosen.width // chosen.heads) / 2
    cells = kind_of(neuron, lif_with_late_reset(), seed=seed)
    if neuron is None:  # reached by the counts themselves; the currents of another neuron are scaled
        cells = replace(cells, attending=lif_with_late_reset(threshold=needed))
    else:
        cells = replace(cells, drive=cells.gain / needed)
    blocks = [_block(chosen, cells, form, neuron is None) for _ in range(chosen.depth)]
    threshold = THRESHOLD if neuron is None else cells.gain
    code = None if learns(cells.usual) else cells.population(chosen.width)  # learned cells differ between layers
    model = TokenModel(blocks, chosen, classes, None, tied, spike_steps, code, threshold)
    return drawn(model, seed, threshold if neuron is None else 3 * threshold)


def _block(size: Size, cells: Kind, form: str, own: bool) -> Block:
    width = size.width
    sources = {name: [cells.spiking(nn.Linear(width, width), width)] for name in ("query", "key", "value")}
    front = again(cells, width, 1.0 if own else None) if form == "bits" else []
    behind = [*front, cells.spiking(nn.Linear(width, width), width)]
    fires = Fires(cells.attends(size.heads))
    attention = TokenAttention(sources, size.heads, fires, behind, causal=True, scale=cells.drive)
    feed = [
        cells.fires(width),
        cells.spiking(nn.Linear(width, size.ratio * width), size.ratio * width),
        cells.spiking(nn.Linear(size.ratio * width, width), width),
    ]
    return Block([cells.fires(width)], attention, feed)
