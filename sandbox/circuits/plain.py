"""The plain loop of a circuit, in torch: slow, readable, and differentiated by autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.circuits.connection import Port
from sandbox.circuits.step import reset, threshold, variable
from sandbox.kernels.circuit import Wire
from sandbox.neurons.base import Neuron


def run(
    neuron: Neuron,
    ports: tuple[Port, ...],
    wires: Sequence[Wire],
    currents: Tensor,
    state: Any,
    dt: float,
    record: tuple[str, ...],
) -> tuple[Tensor, list[Tensor]]:
    """Return spikes and recorded variables, `[T, B, n]`, for currents `[T, B, n]` and the state of `step.initial`."""
    kind = type(neuron.initial_state((1,), currents))
    longest = max((wire.longest for wire in wires), default=0)
    past: list[Tensor] = []  # spikes of the last steps, the newest first
    rows = []
    for x in currents:
        (spikes,), state = threshold(ports, kind, neuron, x, state, dt)
        past = [spikes, *past[:longest]]
        for wire in wires:
            name = variable(ports, neuron, wire.port)
            state = state._replace(**{name: getattr(state, name) + arriving(wire, past)})
        _, state = reset(ports, kind, neuron, spikes, state, dt)
        rows.append((spikes, *(getattr(state, name) for name in record)))
    spikes, *recorded = (torch.stack(column) for column in zip(*rows, strict=True))
    return spikes, recorded


def arriving(wire: Wire, past: list[Tensor]) -> Tensor:
    """Return what arrives in this step at every cell, `[B, n]`: the weights of the spikes of `wire.delay` steps ago."""
    arrived = torch.zeros_like(past[0])
    if wire.edges is None:
        targets, sources = wire.places
        if int(wire.delay) < len(past):
            arrived[:, targets] = past[int(wire.delay)][:, sources] @ wire.weight.t()
        return arrived
    pre, post = wire.edges
    ago = wire.delay if isinstance(wire.delay, Tensor) else torch.full_like(pre, wire.delay)
    old = ago < len(past)
    heard = torch.stack(past)[ago[old], :, pre[old]]  # [synapses, B]
    return arrived.index_add(1, post[old], (heard * wire.weight[old, None]).t())
