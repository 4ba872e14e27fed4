"""The shared state of one step's measurements, and the sites of the measurements."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Cost
from rules.credit.zero_order.layered.colouring import Layout
from rules.credit.zero_order.relative import exact_step
from rules.metering import forward_cost
from rules.processes import rank
from rules.seeds import seeded
from rules.spikes.surrogate import Differentiation, differentiating


class Probing(NamedTuple):
    """The settings of a layered rule that measurements use."""

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
        """Return the step relative to the rms of a signal, in a model with or without spikes."""
        return exact_step(dtype, self.diff, spikes) if self.step is None else self.step


class Front(NamedTuple):
    """The beginning of a part: units that do not meet, and the first weight, which is `W x + b` and nothing else."""

    enter: Callable[[Tensor, int], Tensor]  # (perturbed [T - t, B, *F], t) -> what enters the weight [T - t, B, *in]
    module: nn.Module
    value: Tensor  # [T, B, *in], what enters it unperturbed
    z: Tensor  # [T, B, *out], what leaves it unperturbed
    rest: Callable[[Tensor, int], Tensor] | None  # (product [T - t, K B, *out], t) -> the end; None if it ends there
    pairs: int  # multiply-accumulates of the product for a sample at a time
    assumed: bool  # whether units are only assumed not to meet, as those of somebody's cells


class Site(NamedTuple):
    """A place where a model is perturbed, and the later one where the effect is measured."""

    name: str
    number: int  # different for every site of a step
    value: Tensor  # [T, B, *F]
    end: Tensor  # [T, B, *G], the unperturbed signal at the place of measurement
    respond: Callable[[Tensor, int], Tensor]  # (perturbed [T - t, K B, *F], t) -> [T - t, K B, *G]
    layout: Layout
    weighed: bool  # whether there is a weight in between; without one, probes are free and exact
    timeless: bool
    shared: bool  # one probe for all times
    resumable: bool
    bytes: int  # of one perturbed copy, at most
    layers: int  # between both places; 0 if the gain is not reported
    front: Front | None = None  # where it has one


class Lab:
    """The shared state of one step's measurements: settings, random generators, and counts."""

    def __init__(self, how: Probing, seed: int, read: Callable[[Tensor, torch.Generator], Tensor] | None) -> None:
        self.how = how
        self.seed = seed
        self.read = read
        self.readings = self.generator(0, rank())  # for the noise in reading
        self.spikes = False  # whether the model spiked in the first pass
        self.drew = False  # whether it drew random numbers
        self.probes = 0
        self.compared = 0  # numbers at the ends of probes, each multiplied by an error
        self.drawn = Cost()  # random numbers in directions
        self.asked: dict[nn.Module, int] = {}  # operations of products that were found without being made
        self.used: dict[nn.Module, int] = {}  # operations in their place
        self.unmade = Cost()  # of those products
        self.gains: dict[str, tuple[float, int]] = {}  # of each segment, gain and number of layers

    def generator(self, *numbers: int) -> torch.Generator:
        """Return a generator that depends on these numbers, independent of earlier draws."""
        return seeded(self.seed, *numbers)

    def spare(self, front: Front, rows: int) -> None:
        """Count a product of so many rows that a probe asks for, and that is not made."""
        operations, incoming, outgoing = (
            rows * front.pairs,
            rows * front.value[0, 0].numel(),
            rows * front.z[0, 0].numel(),
        )
        self.asked[front.module] = self.asked.get(front.module, 0) + operations
        self.unmade += forward_cost(operations, incoming, outgoing)

    def use(self, front: Front, operations: int) -> None:
        """Count operations that were made in place of a product."""
        self.used[front.module] = self.used.get(front.module, 0) + operations

    def passing(self) -> AbstractContextManager[Differentiation]:
        """Return a context for a pass; stochastic neurons draw the same numbers in every pass."""
        return differentiating(None, False, self.how.smooth, self.generator(1))

    def drawn_from(self, passing: Differentiation) -> bool:
        """Return whether a pass has drawn random numbers."""
        assert passing.generator is not None
        return not torch.equal(passing.generator.get_state(), self.generator(1).get_state())
