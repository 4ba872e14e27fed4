"""A neuron, the currents of a validation, and its responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.neurons.loop import loop
from sandbox.neurons.stepping import rest
from sandbox.reference.conformance.alike import cast
from sandbox.simulation import Trajectory, simulate


@dataclass(frozen=True)
class Trial:
    """A neuron and its currents `[T, N]` [nA], float64, the columns of each stimulus side by side."""

    neuron: Neuron
    currents: Tensor
    dt: float  # [ms]
    stimuli: tuple[str, ...]
    record: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Number of cells for each stimulus."""
        return self.currents.shape[1] // len(self.stimuli)

    @property
    def shown(self) -> Tensor:
        """The currents of the first input, `[T, N]`, for figures."""
        return self.currents[..., 0] if self.neuron.inputs else self.currents

    def blocks(self) -> Iterator[tuple[str, slice]]:
        """Yield each stimulus and its columns."""
        for number, name in enumerate(self.stimuli):
            yield name, slice(number * self.cells, (number + 1) * self.cells)

    @cached_property
    def ours(self) -> Trajectory:
        """The neuron's response in float64."""
        return self.run()

    def start(self) -> Any:
        """Return the state before the first step."""
        return rest(self.neuron, self.currents)

    def run(self, dtype: torch.dtype = torch.float64) -> Trajectory:
        """Simulate without gradients."""
        with torch.no_grad():
            return simulate(cast(self.neuron, dtype), self.currents.to(dtype), self.dt, self.record)

    def disturbed(self, by: float, seed: int = 0) -> Trajectory:
        """Run in float64, with the membrane changed after every step by a fraction `by` of itself or of a swing.

        The signs of the changes are drawn. This acts as rounding does; a single nudge at the beginning would be
        forgotten by a cell that rests for a while.
        """
        swing = abs(float(torch.as_tensor(self.neuron.swing).detach().max()))
        rng = torch.Generator().manual_seed(seed)

        def step(current: Tensor, state: Any) -> tuple[tuple[Tensor, ...], Any]:
            spikes, state = self.neuron.step(current, state, self.dt)
            v = getattr(state, self.neuron.membrane)
            sign = 2.0 * torch.randint(2, v.shape, generator=rng) - 1
            state = state._replace(**{self.neuron.membrane: v + by * sign * torch.clamp(v.abs(), min=swing)})
            return (spikes, *(getattr(state, name) for name in self.record)), state

        with torch.no_grad():
            (spikes, *rows), _ = loop(step, self.currents, self.start())
        return Trajectory(spikes, dict(zip(self.record, rows, strict=True)), self.dt)

    def scales(self, run: Trajectory) -> dict[str, Tensor]:
        """Return each variable's largest absolute value `[N]` under the same stimulus; under all if that is 0."""
        found = {}
        for name, values in run.variables.items():
            largest = torch.cat([values[:, of].abs().max().expand(self.cells) for _, of in self.blocks()])
            found[name] = torch.where(largest > 0, largest, largest.max() if largest.max() > 0 else torch.tensor(1.0))
        return found


def first_step(bad: Tensor) -> Tensor:
    """Return the first True of each column of `[T, N]`, T if there is none."""
    steps = torch.arange(len(bad), device=bad.device)[:, None].expand_as(bad)
    return torch.where(bad, steps, len(bad)).amin(0)
