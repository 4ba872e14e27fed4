"""The equations of a step of a circuit for one cell, in torch: the plain loop calls them, the kernels are made of them.

    threshold    current = x + sum of i_k + sum of g_k (E_k - v)
                 state <- integrate(current, state)
                 i_k <- i_k exp(-dt / tau_k),   g_k <- g_k exp(-dt / tau_k)
                 spikes = where the state is at its threshold
    synapses     i_k, g_k and variables gain the weights of the spikes that arrive
    reset        state <- reset(state) where spikes

A variable whose equation says "(unless refractory)" takes no jump while the cell is refractory, as in Brian2; the step
of the spike counts. What arrives at it is first collected in j_k, and the reset adds it: v <- v + j_k, j_k <- 0.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Differentiation, Surrogate, current_pass, differentiating
from sandbox.circuits.connection import Port
from sandbox.neurons.base import Neuron, decay


@lru_cache(maxsize=64)
def wired(state: Any, count: int) -> Any:
    """Return the type of a state with `count` more variables: the currents or conductances of synapses."""
    names = [*state._fields, *(f"synapse{k}" for k in range(count))]
    return namedtuple(f"{state.__name__}Wired", names)


def own(ports: tuple[Port, ...], neuron: Neuron) -> tuple[Port, ...]:
    """Return the ports that have a variable of their own; other jumps add to one of the cell's at once."""
    held = neuron.clamped
    return tuple(port for port in ports if port.kind != "jump" or port.variable in held)


def variable(ports: tuple[Port, ...], neuron: Neuron, number: int) -> str:
    """Return the name of the variable that the spikes at a port add to."""
    port, separate = ports[number], own(ports, neuron)
    return f"synapse{separate.index(port)}" if port in separate else str(port.variable)


def initial(ports: tuple[Port, ...], neuron: Neuron, state: Any) -> Any:
    """Return a cell's state with the variables of its synapses, at zero."""
    count = len(own(ports, neuron))
    kind: Any = type(state)
    return wired(kind, count)(*state, *(torch.zeros_like(state[0]) for _ in range(count)))


def threshold(
    ports: tuple[Port, ...], kind: type, neuron: Neuron, x: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Return the spikes and the state between integration and reset; `kind` is the type of the cell's own state."""
    count = len(kind._fields)  # type: ignore[attr-defined]
    cell, synapses = kind(*state[:count]), state[count:]
    current, rest = x, []
    for port, value in zip(own(ports, neuron), synapses, strict=True):
        if port.kind != "jump":
            v = getattr(cell, neuron.membrane)
            current = current + (value if port.kind == "current" else value * (port.reversal - v))
        rest.append(faded(port, value, dt))
    before = neuron.integrate(current, cell, dt)
    spikes, _ = neuron.fire(before, dt)
    return (spikes,), type(state)(*before, *rest)


def faded(port: Port, value: Tensor, dt: float) -> Tensor:
    """Return what is left of the current or conductance of a synapse after a step."""
    return torch.zeros_like(value) if port.tau is None else value * decay(dt, port.tau)


def reset(
    ports: tuple[Port, ...], kind: type, neuron: Neuron, spikes: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Return the state after the reset of cells whose spikes are known already."""
    count = len(kind._fields)  # type: ignore[attr-defined]
    cell, rest = kind(*state[:count]), list(state[count:])
    wait = getattr(cell, "wait", None)
    shut = spikes.detach() > 0 if wait is None else (spikes.detach() > 0) | (wait > 0)
    for k, port in enumerate(own(ports, neuron)):
        if port.kind == "jump":
            name, jump = str(port.variable), torch.where(shut, torch.zeros_like(rest[k]), rest[k])
            cell = cell._replace(**{name: getattr(cell, name) + jump})
            rest[k] = torch.zeros_like(rest[k])
    with known(spikes):
        _, after = neuron.fire(cell, dt)
    return (), type(state)(*after, *rest)


@contextmanager
def known(spikes: Tensor) -> Iterator[None]:
    """Make every cell inside this block fire as it did already; the pass is otherwise that of the caller."""
    now = current_pass() or Differentiation()

    def given(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        return spikes

    how = (now.surrogate, now.detach_reset, False, now.generator, given)
    with differentiating(*how, detach_adaptation=now.detach_adaptation):
        yield


def whole(
    ports: tuple[Port, ...], kind: type, neuron: Neuron, x: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Return spikes and state of a step in which nothing arrives between threshold and reset."""
    (spikes,), before = threshold(ports, kind, neuron, x, state, dt)
    _, after = reset(ports, kind, neuron, spikes, before, dt)
    return (spikes,), after
