"""The time loop of a neuron, and its state before the first step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import generator_of_pass
from sandbox.neurons.base import Neuron
from sandbox.neurons.dice import fresh


def loop(
    step: Callable[[Tensor, Any], tuple[tuple[Tensor, ...], Any]], inputs: Tensor, carry: Any
) -> tuple[tuple[Tensor, ...], Any]:
    """Run `(outputs), carry = step(input, carry)` for every step, and stack the outputs along time."""
    rows = []
    for x in inputs.unbind(0):
        outputs, carry = step(x, carry)
        rows.append(outputs)
    return tuple(torch.stack(column) for column in zip(*rows, strict=True)), carry


def advance(
    neuron: Neuron, current: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
) -> tuple[tuple[Tensor, ...], Any]:
    """Take one step; return output, recorded variables and, if `centred`, membrane minus threshold; and the state."""
    if not centred:
        output, after = neuron.step(current, state, dt)
        return (output, *(getattr(after, name) for name in record)), after
    before = neuron.integrate(current, state, dt)
    output, after = neuron.fire(before, dt)
    return (output, *(getattr(after, name) for name in record), neuron.centred(before)), after


def rest(neuron: Neuron, currents: Tensor, generator: torch.Generator | None = None) -> Any:
    """Return the state before the first step, for currents `[T, ...]`.

    A stochastic neuron's key is drawn from the generator, or else from that of the pass (`rules.spikes.surrogate`).
    """
    state = neuron.initial_state(currents.shape[1:], currents)
    if neuron.draws:
        generator = generator or generator_of_pass()
        return state if generator is None else state._replace(key=fresh(generator, currents))
    return state


def variables(state: Any) -> list[str]:
    """Return the names of the per-cell variables in a state."""
    return [name for name, value in state._asdict().items() if value is not None and name != "key"]


def differentiable(state: Any) -> list[str]:
    """Return the names of the variables in a state that a derivative passes through: not the refractory counter."""
    return [name for name in variables(state) if name != "wait"]


def check_resolution(neuron: Neuron, dt: float) -> None:
    """Warn if dt is longer than the fastest time constant."""
    if dt > neuron.fastest:
        name = type(neuron).__name__
        warnings.warn(
            f"dt={dt:g} ms is longer than the fastest time constant of {name}, {neuron.fastest:g} ms: its "
            "dynamics are not resolved; use a smaller dt",
            stacklevel=5,
        )


def body_of(
    record: tuple[str, ...], centred: bool, neuron: Neuron, current: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Call `advance` with `record` and `centred` as the first arguments, so that `partial` can fix them."""
    return advance(neuron, current, state, dt, record, centred)
