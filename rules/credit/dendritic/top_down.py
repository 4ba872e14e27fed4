"""Weights that carry signals from a layer of a chain down to the one below, as rows of the weight that leads up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from rules.draws import normal, scale
from rules.models.chain import Chain, links_of

TopDown = Literal["random", "transposed"]
TOP_DOWN = ("random", "transposed")


def names_of(model: nn.Module, chain: Chain) -> list[str]:
    """Return the names of the weights of all links but the first, from which something leads down."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(link.linear.weight)] for link in chain.links[1:]]


def drawn(model: nn.Module, rule: str, kind: TopDown, rng: torch.Generator) -> dict[str, Tensor]:
    """Draw a normal matrix for each weight that leads up, of its shape and scale; none where they are its transpose.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), nn.Linear(3, 2))
    >>> {name: tuple(b.shape) for name, b in drawn(net, "Burst", "random", torch.Generator()).items()}
    {'2.weight': (2, 3)}
    """
    chain = links_of(model, rule)
    if kind == "transposed":
        return {}
    pairs = zip(names_of(model, chain), chain.links[1:], strict=True)
    return {name: normal(link.weight.shape, rng, link.weight) * scale(link.weight) for name, link in pairs}


def matrices(model: nn.Module, rule: str, chain: Chain, held: dict[str, Tensor], kind: TopDown) -> list[Tensor]:
    """Return what leads down from each link but the first, `[out, in]`.

    Raises:
        ValueError: for matrices that no longer fit the model.
    """
    weights = [link.weight for link in chain.links[1:]]
    if kind == "transposed":
        return weights
    names = names_of(model, chain)
    require_fitting(rule, {name: held.get(name) for name in names}, weights)
    return [held[name].to(weight) for name, weight in zip(names, weights, strict=True)]


def require_fitting(rule: str, found: dict[str, Tensor | None], weights: Iterable[Tensor]) -> None:
    """Raise ValueError for matrices, by the name of the weight that leads up, that have another shape than it."""
    for (name, matrix), weight in zip(found.items(), weights, strict=True):
        if matrix is None or matrix.shape != weight.shape:
            seen = "missing" if matrix is None else f"{tuple(matrix.shape)}"
            raise ValueError(
                f"what leads down along {name!r} in {rule} is {seen}, and that weight is now {tuple(weight.shape)}: "
                "the model was changed after training began. Draw it anew by a new trainer, "
                "trainer = rules.Trainer(model, rule)"
            )
