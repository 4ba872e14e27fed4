"""Spikingformer: spiking transformers whose neurons come first, with pools of spikes or of currents (CML)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from rules.errors import unknown
from sandbox.networks.convolutions import averaged, drawn, require_image, sized, transformer
from sandbox.networks.embeddings import tokenizer
from sandbox.networks.feed_forward import in_front, in_front_each, pointwise
from sandbox.networks.joins import add
from sandbox.networks.kinds import Given, transformer_neurons
from sandbox.networks.models.spikformer import SIZES as SPIKFORMER
from sandbox.networks.models.spikformer import Size, attended
from sandbox.networks.parts import Joined, Stack, Stateless

AROUND = {"pair": in_front, "each": in_front_each}
SIZES: dict[int | str, Size] = {
    **{name: replace(size, bias=False) for name, size in SPIKFORMER.items()},
    "8-384": Size(8, 384, 8),
    "8-768": Size(8, 768, 8),
    "2-256": Size(2, 256, 16, tau_mem=1.5),
}
CML_SIZES: dict[int | str, Size] = {**SIZES, "2-256": replace(SIZES["2-256"], tau_mem=1.75)}


def spikingformer(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str | Size = "tiny",
    *,
    around: Literal["pair", "each"] = "pair",
    order: Literal["kv", "qk", "cheaper"] = "kv",
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a Spikingformer: blocks whose neurons come first, and whose shortcuts add real numbers.

        x = x + BN(W SSA(SN(x))),    x = x + BN(W2 SN(BN(W1 SN(x))))

    Every convolution but the first sees zeros and ones. "tiny" is ours, as in `spikformer`.

    Args:
        shape: of an image `(C, H, W)`, whose sides are multiples of 16; of 4 for "4-256", "2-384", "4-384" and "tiny".
        classes: number of outputs.
        size: "8-384", "8-512" or "8-768" (ImageNet), "4-256", "2-384" or "4-384" (CIFAR), "2-256" (event data), "tiny",
            or a `Size` of your own.
        around: "pair", a shortcut around the feed-forward part, as published; "each", one more around each of its two
            matrices, which suits weights of one bit. Both have as many parameters.
        order: of the products of attention: "kv" is linear in the number of tokens, "qk" in the width of a head.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for the LIF of
            the paper, with a threshold of 0.5 behind attention.
        seed: of the initial weights.

    Returns: A model whose mean output over time is the published read-out.

    Raises:
        ValueError: for an unknown size, kind of shortcut, order or neuron, and an image that patches do not divide.

    >>> import torch
    >>> spikingformer((1, 8, 8), 10)(torch.rand(1, 2, 1, 8, 8).expand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Zhou et al. 2023 (arXiv 2304.11954), from the authors' code, without its normalisations that are never
    used. Its settings have 8 heads for ImageNet; `around` "each" is our reconstruction (arXiv 2508.12609).
    """
    return made(shape, classes, sized("size", size, SIZES), False, around, order, neuron, seed)


def spikingformer_cml(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str | Size = "tiny",
    *,
    around: Literal["pair", "each"] = "pair",
    order: Literal["kv", "qk", "cheaper"] = "kv",
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build a Spikingformer that pools currents in place of spikes (CML): convolution, normalisation, pool, neuron.

    The maximum of spikes passes the error to the first of equal ones; that of currents passes it to the largest, also
    where no neuron fires. Parameters and sizes are those of `spikingformer`.

    Args:
        shape: of an image `(C, H, W)`, whose sides are multiples of 16; of 4 for "4-256", "2-384", "4-384" and "tiny".
        classes: number of outputs.
        size: as in `spikingformer`.
        around: as in `spikingformer`.
        order: of the products of attention.
        neuron: as in `spikingformer`.
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown size, kind of shortcut, order or neuron, and an image that patches do not divide.

    >>> import torch
    >>> spikingformer_cml((1, 8, 8), 10)(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 10])

    Reference: Zhou et al. 2023 (arXiv 2305.05954), from the authors' code.
    """
    return made(shape, classes, sized("size", size, CML_SIZES), True, around, order, neuron, seed)


def made(
    shape: tuple[int, int, int],
    classes: int,
    size: Size,
    cml: bool,
    around: Literal["pair", "each"],
    order: Literal["kv", "qk", "cheaper"],
    neuron: Given,
    seed: int,
) -> Stack:
    """Return the model of a size."""
    if around not in AROUND:
        raise unknown("around", around, AROUND)
    require_image(shape, size.patch)
    cells = transformer_neurons(neuron, size.tau_mem, seed)
    scale = size.gain * cells.gain
    parts = tokenizer(shape[0], size.width, size.pools, cells, scale, cml)
    for _ in range(size.depth):
        attention = attended(size, cells, size.bias, order)
        project = Stateless(pointwise(size.width, size.width, scale))
        parts.append(Joined([cells.fires(size.width), attention, project], [], add))
        parts.append(Joined(AROUND[around](size.width, size.ratio, cells, scale), [], add))
    return drawn(Stack([*parts, averaged(size.width, classes)], shape), seed, transformer)
