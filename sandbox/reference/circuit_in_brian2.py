"""Run a circuit in Brian2: the same cells, connections, delays and order within a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.circuits import Circuit
from sandbox.circuits.connection import Port
from sandbox.events import Events
from sandbox.kernels.circuit import Wire
from sandbox.neurons.base import Neuron
from sandbox.neurons.stepping import rest
from sandbox.reference.brian import drawn, events, evolving, jumps, plain_numpy, scheme, throw, thrown, with_equations
from sandbox.reference.need import brian2
from sandbox.reference.quantities import base, give, of_cells, private, refractoriness, stored, unit


def run_circuit(circuit: Circuit, currents: Tensor, dt: float, state: Any = None) -> Events:
    """Simulate a circuit in Brian2, in float64, with NumPy code and no compiler.

    Args:
        circuit: the cells and their connections.
        currents: `[T, n]` [nA].
        dt: time step [ms].
        state: of the cells at the start; None for rest.

    >>> from sandbox import LIF
    >>> from sandbox.circuits import Connection
    >>> ring = Connection(2.0 * torch.eye(3, dtype=torch.float64).roll(1, 0), delay=1.0)
    >>> kick = torch.zeros(8, 3, dtype=torch.float64)
    >>> kick[0, 0] = 30.0
    >>> run_circuit(Circuit(LIF(tau_mem=1.0), n=3, connections=[ring]), kick, dt=1.0).cell
    tensor([0, 1, 2, 0])
    """
    with plain_numpy():
        network = circuit_objects(circuit, currents, dt, state)
        network.run(len(currents) * dt * brian2().ms, namespace={})
    return recorded(network["spikes"], currents, dt)


def recorded(monitor: Any, currents: Tensor, dt: float) -> Events:
    """Return the events of a Brian2 monitor of cells with currents `[T, n]`."""
    step = np.rint(np.asarray(monitor.t / brian2().ms) / dt).astype(np.int64)
    cell = np.asarray(monitor.i).astype(np.int64)
    return Events.of_pairs(torch.from_numpy(step), torch.from_numpy(cell), len(currents), currents.shape[1:], dt)


def circuit_objects(circuit: Circuit, currents: Tensor, dt: float, state: Any = None) -> Any:
    """Build the `brian2.Network` of a circuit, ready to run, from "cells", "spikes", "connection_0" and so on."""
    b2 = brian2()
    currents = currents.detach().double()
    cells = _cells(circuit, currents, dt, rest(circuit.neuron, currents) if state is None else state)
    for name, port in filtered(circuit).items():
        fading = "0" if port.tau is None else f"exp(-dt / ({port.tau!r} * ms))"
        cells.run_regularly(f"{name} = {name} * {fading}", when="before_thresholds")
    wires = circuit.wires(dt, len(currents), currents)
    synapses = [_synapses(circuit, number, wire, cells, dt) for number, wire in enumerate(wires)]
    return b2.Network(cells, b2.SpikeMonitor(cells, name="spikes"), synapses)


def _cells(circuit: Circuit, currents: Tensor, dt: float, state: Any) -> Any:
    b2 = brian2()
    neuron = with_equations(circuit.neuron)
    physical, own = of_cells(neuron, currents.shape[1:])
    constant = len(currents) > 1 and currents.stride(0) == 0
    hears = "current" in neuron.units  # without an input, jumps alone reach it
    drive = private(neuron, "drive")
    alone = not hears or (constant and not filtered(circuit))  # then the drive is the current
    varying = {name: (values, unit(neuron.units[name])) for name, values in drawn(neuron, state, currents).items()}
    if hears and constant:
        own["current" if alone else drive] = currents[0].numpy() * symbol_of(neuron, "current")
    elif hears:
        varying[drive] = currents, symbol_of(neuron, "current")
    lines = [neuron.equations] if alone else [neuron.equations, _current(circuit)]
    for name, (values, symbol) in varying.items():
        physical[stored(neuron, name)] = b2.TimedArray(values.numpy() * symbol, dt=dt * b2.ms)
        if name not in thrown(neuron):
            lines.append(f"{name} = {stored(neuron, name)}(t, i) : {base(symbol)} (constant over dt)")
    lines += [f"{name} : {base(values)} (constant)" for name, values in own.items()]
    lines += [f"{name} : {base(symbol_of(neuron, port.kind))}" for name, port in filtered(circuit).items()]
    group = b2.NeuronGroup(
        circuit.n,
        "\n".join(lines),
        threshold=neuron.threshold,
        reset=neuron.reset_code,
        refractory=refractoriness(neuron),
        method=scheme(neuron),
        namespace=physical,
        dt=dt * b2.ms,
        name="cells",
        events={event: condition for event, (condition, _) in events(neuron).items()} or None,
    )
    for event, (_, statements) in events(neuron).items():
        group.run_on_event(event, statements)
    for variable in jumps(neuron).values():
        group.run_regularly(f"{variable} += current", when="start")
    throw(group, neuron)
    start = {name: getattr(state, name).numpy() * unit(neuron.units[name]) for name in evolving(neuron, state)}
    give(group, {**start, **own})
    return group


def filtered(circuit: Circuit) -> dict[str, Port]:
    """Return the ports that have a variable of their own in Brian2, by its name."""
    return {name_of(circuit, number): port for number, port in enumerate(circuit.ports) if port.kind != "jump"}


def name_of(circuit: Circuit, number: int) -> str:
    """Return the name of the variable of a port."""
    return private(circuit.neuron, f"synapse{number}")


def _current(circuit: Circuit) -> str:
    """Return the equation of the current, which is constant within a step."""
    units, membrane = circuit.neuron.units, circuit.neuron.membrane
    terms = [private(circuit.neuron, "drive")]
    for name, port in filtered(circuit).items():
        reversal = f"{port.reversal!r} * ({units[membrane]})"
        terms.append(f"{name} * ({reversal} - {membrane})" if port.kind == "conductance" else name)
    return f"current = {' + '.join(terms)} : {base(unit(units['current']))} (constant over dt)"


def symbol_of(neuron: Neuron, kind: str, variable: str | None = None) -> Any:
    """Return the unit of the weights of a connection: with nA and mV, a conductance is in uS."""
    if kind == "jump":
        return unit(neuron.units[variable or neuron.membrane])
    current = unit(neuron.units["current"])
    return current if kind == "current" else current / unit(neuron.units[neuron.membrane])


def _synapses(circuit: Circuit, number: int, wire: Wire, cells: Any, dt: float) -> Any:
    b2 = brian2()
    port = circuit.ports[wire.port]
    symbol = symbol_of(circuit.neuron, port.kind, port.variable)
    same = {} if isinstance(wire.delay, Tensor) else {"delay": wire.delay * dt * b2.ms}
    synapses = b2.Synapses(
        cells,
        cells,
        f"weight : {base(symbol)}",
        on_pre=f"{port.variable or name_of(circuit, wire.port)}_post += weight",
        dt=dt * b2.ms,
        name=f"connection_{number}",
        **same,
    )
    pre, post, weight = _edges(wire)
    synapses.connect(i=pre.numpy(), j=post.numpy())
    synapses.weight = weight.detach().numpy() * symbol
    if isinstance(wire.delay, Tensor):
        synapses.delay = wire.delay.numpy() * dt * b2.ms
    return synapses


def _edges(wire: Wire) -> tuple[Tensor, Tensor, Tensor]:
    """Return the presynaptic cell, the postsynaptic cell and the weight of each synapse."""
    if wire.edges is not None:
        return *wire.edges, wire.weight
    post, pre = wire.places
    rows, columns = torch.ones(wire.weight.shape).nonzero(as_tuple=True)
    return columns + pre.start, rows + post.start, wire.weight.flatten()
