"""S2M-Former: a small spiking transformer for two views of an EEG, with branches of the same form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from rules.errors import unknown
from sandbox.networks.channel_attention import attending, require_blocks
from sandbox.networks.channel_mixer import gated
from sandbox.networks.convolutions import drawn, sized, xavier
from sandbox.networks.eeg_embeddings import frequency, spatial, tokens
from sandbox.networks.inputs import several
from sandbox.networks.joins import add
from sandbox.networks.kinds import Given, Kind, kind_of
from sandbox.networks.membrane_readout import MembraneReadout
from sandbox.networks.models.speech import cell
from sandbox.networks.parts import Joined, Stack, Stateless
from sandbox.networks.segments import Segments
from sandbox.networks.token_convolutions import multiscale
from sandbox.networks.token_mixer import TokenMixer, pooled
from sandbox.neurons import CPLIF

EMBEDDINGS: dict[str, Any] = {"spatial": spatial, "frequency": frequency}
AXES = {"spatial": ("components", "samples"), "frequency": ("bands", "height", "width")}


@dataclass(frozen=True)
class Size:
    """Channels, blocks of attention, and the depth.

    Attributes:
        width: channels D of a token, even.
        inside: channels inside the gated channel mixer, even.
        heads: blocks of tokens in attention.
        depth: number of blocks.
        kernel: tokens that convolutions of the gated channel mixer weigh, odd.
    """

    width: int
    inside: int
    heads: int
    depth: int = 1
    kernel: int = 3


SIZES: dict[int | str, Size] = {"tiny": Size(4, 8, 2), "paper": Size(8, 32, 4)}


def s2m_former(
    shape: Sequence[Any] = ((64, 128), (5, 32, 32)),
    classes: int = 2,
    size: str | Size = "tiny",
    *,
    branches: Sequence[str] = ("spatial", "frequency"),
    fusion: bool = True,
    pool: int = 3,
    components: int = 64,
    maps: tuple[int, int, int] = (5, 32, 32),
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build an S2M-Former: two views of an EEG as tokens, a branch of attention and convolutions for each, and fusion.

        x = x + SCSA(x)     in each branch (`channel_attention`)
        x = MPTM(x, g),     g = mean over tokens of SGCM(tokens of both branches) (`channel_mixer`, `token_mixer`)
        x = x + SMSC(x)     in each branch (`token_convolutions`)
        x = MPTM(x, g),     likewise
        y = W v             v: membranes that the mean over all tokens has charged at the last step

    It takes a tuple of inputs `[T, B, 64, samples]` and `[T, B, 5, 32, 32]`, or one tensor `[T, B, features]` with the
    features of the first before those of the second, as the task `attention_eeg` has them. The same input at all steps
    is computed once in front of the first neurons. Branches have the same form; exchanging inputs and weights of two
    branches changes the result only through the convolutions of SGCM where the tokens of one meet those of the other.

    Args:
        shape: that of each input, `((components, samples), (bands, height, width))`; of a single branch its own; or
            `(features,)`, of which those beyond `maps` are those of `components`. Samples, and a quarter of the places
            of a map, have to be a multiple of the heads.
        classes: number of outputs.
        size: "paper" (59,826 parameters), "tiny", which is ours, or a `Size` of your own.
        branches: "spatial", "frequency" or both.
        fusion: False for branches without SGCM and MPTM, which meet in the mean over tokens alone.
        pool: of MPTM: 3 by default; 1 keeps all tokens, which the paper uses for windows of 0.1 s.
        components: of the spatial view where the shape is `(features,)`.
        maps: of the frequency view there.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`, for all but the
            read-out; None for those of the paper, LIF and, in front of modules, `CPLIF`.
        seed: of the initial weights.

    Returns: A model whose output `[1, B, classes]` is that of the last step.

    Raises:
        ValueError: for an unknown size, branch, pool or neuron, a shape that does not fit the branches, and tokens that
            are no multiple of the heads.

    >>> import torch
    >>> model = s2m_former(((16, 32), (5, 8, 8)))
    >>> model((torch.rand(4, 2, 16, 32), torch.rand(4, 2, 5, 8, 8))).output.shape
    torch.Size([1, 2, 2])

    Reference: Wang et al. 2025 (arXiv 2508.05164), from the authors' code. It differs from that code in this: heads of
    attention are runs of tokens, where the code mixes channels and tokens (`ChannelAttention`); their number of tokens
    scales attention, also where there are more than at first; rotary embedding, which the code calls and does not
    create, and tables of positions, which it creates and does not add, are left out. For a single branch SGCM and MPTM
    see the tokens of that branch, which the paper does not say.
    """
    chosen = sized("size", size, SIZES)
    views = shapes_of(shape, branches, components, maps)
    build = Builder(chosen, kind_of(neuron, cell(), seed=seed), kind_of(neuron, CPLIF(), seed=seed), pool)
    features = [math.prod(view) for view in views.values()]
    embedding = {name: EMBEDDINGS[name](view, chosen.width, build.cells) for name, view in views.items()}
    parts: list[nn.Module] = [Stateless(nn.Flatten()), Segments(embedding, features)]
    counts = {name: tokens(view) for name, view in views.items()}
    for _ in range(chosen.depth):
        for stage in (build.attention, build.convolutions):
            parts.append(stage(counts))
            if fusion:
                parts.append(build.mixer(counts))
                counts = {name: pooled(count, pool) for name, count in counts.items()}
    parts.append(MembraneReadout(chosen.width, classes, build.between.generator))
    inputs = tuple(views.values())
    return drawn(Stack(parts, inputs if len(inputs) > 1 else inputs[0]), seed, xavier)


@dataclass(frozen=True)
class Builder:
    """Makes the parts of a size."""

    size: Size
    cells: Kind
    between: Kind
    pool: int

    def attention(self, counts: dict[str, int]) -> Segments:
        """Return attention with its residual in each branch."""
        for count in counts.values():
            require_blocks(count, self.size.heads)
        made = {name: attending(self.size.width, self.size.heads, self.cells, self.between) for name in counts}
        return self.residual(made, counts)

    def convolutions(self, counts: dict[str, int]) -> Segments:
        """Return convolutions of three widths with their residual in each branch."""
        return self.residual({name: multiscale(self.size.width, self.cells, self.between) for name in counts}, counts)

    def residual(self, made: dict[str, list[nn.Module]], counts: dict[str, int]) -> Segments:
        """Return parts in each branch, and a shortcut past them."""
        return Segments({name: [Joined(parts, [], add)] for name, parts in made.items()}, list(counts.values()))

    def mixer(self, counts: dict[str, int]) -> TokenMixer:
        """Return the fusion of the branches."""
        mixer = gated(self.size.width, self.size.inside, self.cells, self.between, self.size.kernel)
        cells = {name: self.cells.population(self.size.width) for name in counts}
        return TokenMixer(mixer, cells, list(counts.values()), self.pool)


def shapes_of(
    shape: Sequence[Any], branches: Sequence[str], components: int, maps: tuple[int, int, int]
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each view; raise ValueError for branches and shapes that do not fit together."""
    if wrong := [name for name in branches if name not in EMBEDDINGS]:
        raise unknown("branch", wrong[0], EMBEDDINGS)
    if not branches or len(set(branches)) < len(branches):
        raise ValueError(f"branches={tuple(branches)}: give 'spatial', 'frequency' or both, each once")
    views = [tuple(each) for each in shape] if several(shape) else [tuple(shape)]
    if len(branches) == 2 and len(views) == 1 == len(views[0]):
        both = dict(zip(EMBEDDINGS, divided_features(views[0][0], components, maps), strict=True))
        views = [both[name] for name in branches]
    wanted = [AXES[name] for name in branches]
    if [len(view) for view in views] != [len(axes) for axes in wanted]:
        named = " and ".join(f"({', '.join(axes)})" for axes in wanted)
        raise ValueError(f"shape={tuple(shape)}: give {named} for branches={tuple(branches)}")
    return dict(zip(branches, views, strict=True))


def divided_features(features: int, components: int, maps: tuple[int, int, int]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of both views in a row of features; raise ValueError where they do not fit."""
    rest = features - math.prod(maps)
    if rest <= 0 or rest % components:
        raise ValueError(
            f"shape=({features},): behind maps={tuple(maps)} {rest} features stay, which are not samples of "
            f"components={components}; give both shapes, as in ((64, 128), (5, 32, 32))"
        )
    return (components, rest // components), tuple(maps)
