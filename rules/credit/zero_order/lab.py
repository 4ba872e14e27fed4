"""What one step's measurements share, and the places where they are made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from rules.credit.zero_order.colouring import Layout
from rules.objectives.gathering import rank
from rules.surrogates import differentiating

if TYPE_CHECKING:
    from rules.credit.zero_order.layered import Layered

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: neighbours become far apart


class Site(NamedTuple):
    """A place where a model is perturbed, and the later one where the effect is measured."""

    name: str
    number: int  # different for every site of a step
    value: Tensor  # [T, B, *F]
    end: Tensor  # [T, B, *G], the unperturbed signal where it is measured
    respond: Callable[[Tensor, int], Tensor]  # (perturbed [T - t, K B, *F], t) -> [T - t, K B, *G]
    layout: Layout
    weighed: bool  # whether a weight is passed; where none is, probes are free, and exact
    timeless: bool
    shared: bool  # one probe for all times
    resumable: bool
    bytes: int  # of one perturbed copy, at its most
    layers: int  # between both; 0 where the gain is of no interest


class Lab:
    """What one step's measurements share: settings, dice, and counts of what was done."""

    def __init__(self, how: Layered, seed: int, read: Callable[[Tensor, torch.Generator], Tensor] | None) -> None:
        self.how = how
        self.seed = seed
        self.read = read
        self.readings = self.generator(0, rank())  # of whatever noise there is in reading
        self.probes = 0
        self.gains: dict[str, tuple[float, int]] = {}  # of a segment, and its layers

    def generator(self, *numbers: int) -> torch.Generator:
        """Dice that depend on these numbers and not on what was drawn before."""
        seed = self.seed
        for number in numbers:
            seed = ((seed ^ number) * GOLDEN + 1) % 2**63
            seed ^= seed >> 29
        return torch.Generator().manual_seed(seed)

    def passing(self) -> AbstractContextManager[Any]:
        """A pass in which stochastic neurons draw the same numbers as in every other."""
        return differentiating(None, False, self.how.smooth, self.generator(1))
