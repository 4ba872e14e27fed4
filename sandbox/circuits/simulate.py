"""Simulate a circuit: in one compiled loop if there is one for its neuron, else in the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rules.products import Products, told
from sandbox.circuits import plain
from sandbox.circuits.circuit import Circuit
from sandbox.circuits.connection import Port
from sandbox.circuits.step import initial, reset, threshold, variable, whole
from sandbox.events import Events
from sandbox.kernels.circuit import Bodies, Wire, attempt
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import variables
from sandbox.neurons.dice import following
from sandbox.simulation import EVENTS, SPIKES, Trajectory, admitted, require_room


def simulate_circuit(
    circuit: Circuit,
    currents: Tensor,
    dt: float = 0.1,
    record: str | Sequence[str] = (),
    state: Any = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Run a circuit from silence: nothing is on its way when it starts.

    Recorded variables are those at the end of a step, after the reset; "spikes" are the spikes as an array of 0 and 1.
    They are differentiable, by surrogate gradients, with respect to the weights of connections and to the currents.
    The pass of `rules.differentiating` counts as everywhere. The loop is selected by `sandbox.kernels.using`: in
    float64, spikes of the compiled loop and of the plain one are the same, other variables up to rounding.

    Args:
        circuit: the cells and their connections.
        currents: from outside, `[T, n]` or `[T, B, n]` [nA], constant within each step. A current that does not change
            takes no memory as `torch.full((n,), 1.5).expand(10_000, n)`.
        dt: time step [ms], 0.1 by default.
        record: names of the neuron's variables, and "spikes"; none by default. "events" are always there.
        state: of the cells at the start; None for rest.
        generator: random generator of a stochastic neuron; None for the neuron's own seed.

    Returns: The spikes, `events` (for a batch, `events.index` are samples and cells) and `spikes`, and the recorded
    variables. Gradients pass through `spikes` if they are recorded.

    Raises:
        ValueError: for currents of another shape, a variable that the neuron does not have, a delay that is not a whole
            number of steps or longer than the currents, weights in another dtype or not finite; and as `sandbox.scan`.
        MemoryError: for a recording that is larger than the memory that is free.
        RuntimeError: under `using("numba")`, if there is no compiled loop; the message names the reason.

    >>> from sandbox import LIF, Circuit, Connection
    >>> ring = Connection(2.0 * torch.eye(3).roll(1, 0), delay=1.0)  # 0 to 1 to 2 to 0; a spike makes the next
    >>> kick = torch.zeros(60, 3)
    >>> kick[0, 0] = 30.0
    >>> circuit = Circuit(LIF(tau_mem=1.0), n=3, connections=[ring])
    >>> simulate_circuit(circuit, kick, dt=1.0).events.cell[:4]
    tensor([0, 1, 2, 0])
    """
    batched = admit(circuit, currents)
    asked = (record,) if isinstance(record, str) else tuple(record)
    names = known(circuit, currents, asked)
    require_room(circuit.neuron, currents, names, events=SPIKES not in asked)
    ports, dense = circuit.ports, currents if batched else currents[:, None]
    start = admitted(circuit.neuron, currents, state, dt, generator)
    start = start if batched else lifted(start)
    begin = initial(ports, circuit.neuron, start)
    wires = circuit.wires(dt, len(currents), currents)
    step, want = bodies(circuit, type(start)), SPIKES in asked

    def by_hand(wires: Sequence[Wire], currents: Tensor, state: Any) -> tuple[Tensor, list[Tensor]]:
        return plain.run(circuit.neuron, ports, wires, currents, state, dt, names)

    def run() -> tuple[Tensor | Events, list[Tensor]]:
        found = attempt(circuit.neuron, step, wires, dense, begin, dt, names, want, by_hand)
        if found is None:
            spikes, rows = by_hand(wires, dense, begin)
            return spikes if want else spikes.detach(), rows
        events, spikes_, rows = found
        return replace(events, shape=currents.shape[1:]) if spikes_ is None else spikes_, rows

    raster, rows = told(products(circuit, dense), run)
    if not batched:
        raster, rows = raster if isinstance(raster, Events) else raster[:, 0], [row[:, 0] for row in rows]
    return Trajectory(raster, dict(zip(names, rows, strict=True)), dt)


def products(circuit: Circuit, currents: Tensor) -> list[tuple[Products, Tensor]]:
    """Return what the synapses multiply for currents `[T, B, n]`, for the count of costs: each weight in every step."""
    learned = currents.requires_grad or any(each.values.requires_grad for each in circuit.connections)
    found = []
    for each in circuit.connections:
        values, (post, pre) = each.values, each.shape
        synapses = values.numel() if each.mask is None else int(each.mask.sum())
        spikes = currents.new_zeros(()).requires_grad_(learned and torch.is_grad_enabled())
        size = currents.shape[:2]
        pairs = Products(size.numel() * synapses, (spikes.expand(*size, pre), values))
        found.append((pairs, spikes.expand(*size, post)))
    return found


def bodies(circuit: Circuit, kind: type) -> Bodies:
    """Return the equations of a step for the kernels, for a cell's state of type `kind`."""
    ports = circuit.ports
    return Bodies(
        ("circuit", ports, kind),
        partial(drawn, ports, kind),
        partial(reset, ports, kind),
        partial(whole, ports, kind),
        tuple(variable(ports, circuit.neuron, number) for number in range(len(ports))),
    )


def drawn(
    ports: tuple[Port, ...], kind: type, neuron: Neuron, x: Tensor, state: Any, dt: float
) -> tuple[tuple[Tensor, ...], Any]:
    """Return what `threshold` does, with the key of random draws moved on, which otherwise the reset does."""
    outputs, before = threshold(ports, kind, neuron, x, state, dt)
    key = getattr(before, "key", None)
    return outputs, before if key is None else before._replace(key=following(key))


def lifted(state: Any) -> Any:
    """Return a state of cells `[n]` as a batch of one."""
    return state._replace(**{name: getattr(state, name)[None] for name in variables(state)})


def admit(circuit: Circuit, currents: Tensor) -> bool:
    """Return whether currents are a batch; raise ValueError if they do not fit the circuit."""
    if currents.ndim not in (2, 3) or currents.shape[-1] != circuit.n:
        raise ValueError(
            f"currents have shape {tuple(currents.shape)}; this circuit wants [T, {circuit.n}] or [T, B, {circuit.n}], "
            f"such as torch.full(({circuit.n},), 1.5).expand(1000, {circuit.n})"
        )
    return currents.ndim == 3


def known(circuit: Circuit, currents: Tensor, record: Sequence[str]) -> tuple[str, ...]:
    """Return the variables to record apart from spikes; raise ValueError for one that the neuron does not have."""
    valid = [SPIKES, *variables(circuit.neuron.initial_state((1,), currents))]
    for name in record:
        if name not in (*valid, EVENTS):
            raise ValueError(f"{type(circuit.neuron).__name__} has no variable {name!r}; it has: {', '.join(valid)}")
    return tuple(name for name in record if name not in (SPIKES, EVENTS))
