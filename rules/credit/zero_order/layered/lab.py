"""What one step's measurements share, and the places where they are made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rules.credit.zero_order.layered.colouring import Layout
from rules.processes import rank
from rules.seeds import seeded
from rules.spikes.surrogate import Differentiation, differentiating

ACROSS_SPIKES = 0.3  # of the rms: a step that some spikes come and go with


class Probing(NamedTuple):
    """How a layered rule probes: the settings of the rule that measurements read."""

    diff: Literal["central", "forward"]
    probes: Literal["basis", "random", "normal", "scattered"]
    q: int
    step: float | None
    repeats: int
    cut: Literal["pre", "post"]
    times: Literal["each", "shared"]
    smooth: bool
    memory: float  # bytes

    def step_for(self, dtype: torch.dtype, spikes: bool) -> float:
        """The step relative to the rms of a signal, in a model that spikes or does not."""
        if self.step is not None:
            return self.step
        order = 1 / 3 if self.diff == "central" else 1 / 2
        return ACROSS_SPIKES if spikes else float(torch.finfo(dtype).eps ** order)


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

    def __init__(self, how: Probing, seed: int, read: Callable[[Tensor, torch.Generator], Tensor] | None) -> None:
        self.how = how
        self.seed = seed
        self.read = read
        self.readings = self.generator(0, rank())  # of whatever noise there is in reading
        self.spikes = False  # whether the model was seen to spike
        self.probes = 0
        self.gains: dict[str, tuple[float, int]] = {}  # of a segment, and its layers

    def generator(self, *numbers: int) -> torch.Generator:
        """Dice that depend on these numbers and not on what was drawn before."""
        return seeded(self.seed, *numbers)

    def passing(self) -> AbstractContextManager[Differentiation]:
        """A pass in which stochastic neurons draw the same numbers as in every other."""
        return differentiating(None, False, self.how.smooth, self.generator(1))
