"""Weights of one parameter that are perturbed in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor


class Chunk(NamedTuple):
    """Weights of one parameter that are perturbed in one call."""

    name: str
    places: Tensor  # indices in the flattened parameter


def divided(chosen: Tensor, parameters: Mapping[str, Tensor], size: Callable[[Tensor], int]) -> Iterator[Chunk]:
    """Divide chosen weights, numbered across all parameters, into chunks of at most `size(parameter)`.

    >>> import torch
    >>> [c.places.tolist() for c in divided(torch.tensor([0, 2, 3, 5]), {"a": torch.ones(4), "b": torch.ones(2)},
    ...                                     lambda p: 2)]
    [[0, 2], [3], [1]]
    """
    first = 0
    for name, p in parameters.items():
        here = chosen[(chosen >= first) & (chosen < first + p.numel())] - first
        for start in range(0, len(here), size(p)):
            yield Chunk(name, here[start : start + size(p)])
        first += p.numel()
