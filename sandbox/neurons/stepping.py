"""The state of cells before the first step, and the names of its variables."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import generator_of_pass
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell, variables
from sandbox.neurons.dice import fresh
from sandbox.neurons.loop import advance


def rest(neuron: Cell, currents: Tensor, generator: torch.Generator | None = None) -> Any:
    """Return the state before the first step, for currents `[T, ...]`.

    A stochastic neuron's key is drawn from the generator, or else from that of the pass (`rules.spikes.surrogate`).
    """
    state = neuron.initial_state(neuron.driven(currents[0]), currents)
    if neuron.draws:
        generator = generator or generator_of_pass()
        return state if generator is None else state._replace(key=fresh(generator, currents))
    return state


def differentiable(state: Any) -> list[str]:
    """Return the names of the variables in a state that a derivative passes through: not the refractory counter."""
    return [name for name in variables(state) if name != "wait" and getattr(state, name).is_floating_point()]


def check_resolution(neuron: Cell, dt: float) -> None:
    """Warn if dt is longer than the fastest time constant."""
    if dt > neuron.fastest and dt != neuron.published_dt:
        name = type(neuron).__name__
        warnings.warn(
            f"dt={dt:g} ms is longer than the fastest time constant of {name}, {neuron.fastest:g} ms: its "
            "dynamics are not resolved; use a smaller dt",
            stacklevel=5,
        )


def check_heard(neuron: Cell, currents: Tensor) -> None:
    """Warn if currents that are not 0 are given to a neuron that reads none."""
    said = neuron.deaf
    if said and not currents.is_meta and not torch._C._are_functorch_transforms_active() and bool(currents.any()):
        warnings.warn(said, stacklevel=5)


def body_of(
    record: tuple[str, ...], centred: bool, neuron: Neuron, current: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Call `advance` with `record` and `centred` as the first arguments, so that `partial` can fix them."""
    return advance(neuron, current, state, dt, record, centred)
