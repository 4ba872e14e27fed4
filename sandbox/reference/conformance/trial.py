"""A neuron, the currents it is tried on, and what it did with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.neurons.stepping import loop, rest
from sandbox.simulation import Trajectory, simulate


@dataclass(frozen=True)
class Trial:
    """Currents `[T, N]` in nA, float64: the columns of each stimulus side by side."""

    neuron: Neuron
    currents: Tensor
    dt: float  # [ms]
    stimuli: tuple[str, ...]
    record: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Columns of each stimulus."""
        return self.currents.shape[1] // len(self.stimuli)

    def blocks(self) -> Iterator[tuple[str, slice]]:
        """Each stimulus and its columns."""
        for number, name in enumerate(self.stimuli):
            yield name, slice(number * self.cells, (number + 1) * self.cells)

    @cached_property
    def ours(self) -> Trajectory:
        """What the neuron does, in float64."""
        return self.run()

    def start(self) -> Any:
        """The state before the first step."""
        return rest(self.neuron, self.currents)

    def run(self, dtype: torch.dtype = torch.float64) -> Trajectory:
        """Simulate without gradients."""
        with torch.no_grad():
            return simulate(self.neuron, self.currents.to(dtype), self.dt, self.record)

    def disturbed(self, by: float) -> Trajectory:
        """The same in float64, the membrane off after every step by a fraction `by` of itself or of a swing.

        So a rounding acts, too; one nudge at the beginning would be forgotten by a cell that rests for a while.
        """
        swing = abs(float(torch.as_tensor(self.neuron.swing).detach().max()))
        rng = torch.Generator().manual_seed(0)

        def step(current: Tensor, state: Any) -> tuple[tuple[Tensor, ...], Any]:
            spikes, state = self.neuron.step(current, state, self.dt)
            sign = 2.0 * torch.randint(2, state.v.shape, generator=rng) - 1
            state = state._replace(v=state.v + by * sign * torch.clamp(state.v.abs(), min=swing))
            return (spikes, *(getattr(state, name) for name in self.record)), state

        with torch.no_grad():
            (spikes, *rows), _ = loop(step, self.currents, self.start())
        return Trajectory(spikes, dict(zip(self.record, rows, strict=True)), self.dt)

    def scales(self, run: Trajectory) -> dict[str, Tensor]:
        """The largest absolute value `[N]` of each variable among the cells of its stimulus; of all where that is 0."""
        found = {}
        for name, values in run.variables.items():
            largest = torch.cat([values[:, of].abs().max().expand(self.cells) for _, of in self.blocks()])
            found[name] = torch.where(largest > 0, largest, largest.max() if largest.max() > 0 else torch.tensor(1.0))
        return found


def first_step(bad: Tensor) -> Tensor:
    """The first True of each column of `[T, N]`, T where there is none."""
    steps = torch.arange(len(bad), device=bad.device)[:, None].expand_as(bad)
    return torch.where(bad, steps, len(bad)).amin(0)
