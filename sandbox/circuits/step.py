"""The equations of a step of a circuit for one cell, in torch: the plain loop calls them, the kernels are made of them.

    threshold    current = x + sum of i_k + sum of g_k (E_k - v)
                 state <- integrate(current, state)
                 i_k <- i_k exp(-dt / tau_k),   g_k <- g_k exp(-dt / tau_k)
                 spikes = where the state is at its threshold
    synapses     i_k, g_k and variables gain the weights of the spikes that arrive
    reset        state <- reset(state) where spikes
"""

from __future__ import annotations

from collections import namedtuple
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate, current_pass, differentiating
from sandbox.circuits.connection import Port
from sandbox.neurons.base import Neuron, decay


@lru_cache(maxsize=64)
def wired(state: type, count: int) -> type:
    """Return the type of a state with `count` more variables: the currents or conductances of synapses."""
    names = [*state._fields, *(f"synapse{k}" for k in range(count))]  # type: ignore[attr-defined]
    return namedtuple(f"{state.__name__}Wired", names)  # type: ignore[misc]  # noqa: PYI024


def filtered(ports: tuple[Port, ...]) -> tuple[Port, ...]:
    """Return the ports that have a variable of their own: not jumps, which use one of the cell's."""
    return tuple(port for port in ports if port.kind != "jump")


def variable(ports: tuple[Port, ...], number: int) -> str:
    """Return the name of the variable that the spikes at a port add to."""
    port = ports[number]
    return port.variable or f"synapse{filtered(ports).index(port)}"


def initial(ports: tuple[Port, ...], state: Any) -> Any:
    """Return a cell's state with the variables of its synapses, at zero."""
    own = filtered(ports)
    return wired(type(state), len(own))(*state, *(torch.zeros_like(state[0]) for _ in own))


def threshold(
    ports: tuple[Port, ...], kind: type, neuron: Neuron, x: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Return the spikes, and the state after the integration and before the reset, for a cell's state of type `kind`."""
    count = len(kind._fields)  # type: ignore[attr-defined]
    cell, synapses = kind(*state[:count]), state[count:]
    current = x
    for port, value in zip(filtered(ports), synapses, strict=True):
        current = current + (value if port.kind == "current" else value * (port.reversal - cell.v))
    before = neuron.integrate(current, cell, dt)
    spikes, _ = neuron.fire(before, dt)
    return (spikes,), type(state)(*before, *map(faded, filtered(ports), synapses, [dt] * len(synapses)))


def faded(port: Port, value: Tensor, dt: float) -> Tensor:
    """Return the current or conductance of a synapse after a step."""
    return torch.zeros_like(value) if port.tau is None else value * decay(dt, port.tau)


def reset(kind: type, neuron: Neuron, spikes: Tensor, state: Any, dt: float) -> tuple[tuple[Tensor, ...], Any]:
    """Return the state after the reset of cells whose spikes are known already."""
    count = len(kind._fields)  # type: ignore[attr-defined]
    cell = kind(*state[:count])

    def known(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        return spikes

    now = current_pass()
    how = () if now is None else (now.surrogate, now.detach_reset, False, now.generator)
    adaptation = None if now is None else now.detach_adaptation
    with differentiating(*how, spike=known, detach_adaptation=adaptation):
        _, after = neuron.fire(cell, dt)
    return (), type(state)(*after, *state[count:])


def whole(
    ports: tuple[Port, ...], kind: type, neuron: Neuron, x: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Return spikes and state of a step in which nothing arrives between threshold and reset."""
    (spikes,), before = threshold(ports, kind, neuron, x, state, dt)
    _, after = reset(kind, neuron, spikes, before, dt)
    return (spikes,), after
