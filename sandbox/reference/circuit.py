"""The Brian2 objects of a network: groups, synapses, monitors, and their scheduling slots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sandbox.neurons.base import Neuron
from sandbox.reference.brian import base, drawn, evolving, throw, thrown, unit
from sandbox.reference.need import brian2

SLOTS = ("drive", "update", "threshold", "clear", "synapses", "reset", "output")  # of each layer, in this order


def circuit(layers: Sequence[Dense], x: NDArray[np.float64], dt: float) -> Any:
    """Build a `brian2.Network` that runs these layers on an input `[T, B, in]`, with `dt` in ms."""
    b2 = brian2()
    clock = b2.Clock(dt * b2.ms)
    steps, samples, _ = x.shape
    source = _input(x, clock)
    objects: list[Any] = [source]
    for number, layer in enumerate(layers):
        cells = _cells(f"cells_{number}", layer, steps, samples, clock)
        objects += [cells, _synapses(f"weights_{number}", source, cells, layer, layer.weight, "feed")]
        if layer.recurrent is not None:
            objects.append(_synapses(f"recurrent_{number}", cells, cells, layer, layer.recurrent, "heard"))
        objects.append(_monitor(f"outputs_{number}", cells))
        source = cells
    network = b2.Network(objects)
    slots = [f"{slot}_cells_{number}" for number in range(len(layers)) for slot in SLOTS]
    network.schedule = ["start", "groups", "input", *slots, "end"]  # idle objects stay in "start" and "groups"
    return network


def _input(x: NDArray[np.float64], clock: Any) -> Any:
    b2 = brian2()
    steps, samples, width = x.shape
    stimulus = b2.TimedArray(x.reshape(steps, -1), dt=clock.dt)
    group = b2.NeuronGroup(samples * width, "output : 1", clock=clock, namespace={"stimulus": stimulus}, name="input")
    group.run_regularly("output = stimulus(t, i)", when="input")
    return group


def _cells(name: str, layer: Dense, steps: int, samples: int, clock: Any) -> Any:
    """Build a population at rest, copied for each sample, with a scheduling slot for each part of its step."""
    group = _group(name, layer, steps, samples, clock)
    group.state_updater.when = f"update_{name}"
    feed, heard = private(layer.neuron, "feed"), private(layer.neuron, "heard")
    group.namespace["unit_of_input"] = unit(layer.neuron.units["current"])
    group.run_regularly(f"{feed} = 0*unit_of_input\n{heard} = 0*unit_of_input", when=f"clear_{name}")
    for thresholder in group.thresholder.values():
        thresholder.when = f"threshold_{name}"
    for resetter in group.resetter.values():
        resetter.when = f"reset_{name}"
    if not layer.neuron.spiking:
        v, output = layer.neuron.membrane, private(layer.neuron, "output")
        group.namespace["unit_of_membrane"] = unit(layer.neuron.units[v])
        group.run_regularly(f"{output} = {v} / unit_of_membrane", when=f"output_{name}")
    return group


def _group(name: str, layer: Dense, steps: int, samples: int, clock: Any) -> Any:
    b2 = brian2()
    neuron, count = layer.neuron, samples * len(layer.bias)
    start = neuron.initial_state((samples, len(layer.bias)), torch.zeros((), dtype=torch.float64))
    physical, own = _parameters(layer, samples)
    of = base(unit(neuron.units["current"]))
    feed, heard, bias, output = (private(neuron, each) for each in ("feed", "heard", "bias", "output"))
    lines = [
        neuron.equations,
        f"current = {feed} + {heard} + {bias} : {of}",
        f"{feed} : {of}",
        f"{heard} : {of}",
        f"{bias} : {of} (constant)",
    ]
    lines += [f"{name} : {base(values)} (constant)" for name, values in own.items()]
    lines += [f"{output} : 1"] * (not neuron.spiking)
    for draw, values in drawn(neuron, start, torch.zeros(steps, count, dtype=torch.float64)).items():
        symbol = unit(neuron.units[draw])
        physical[f"stored_{draw}"] = b2.TimedArray(values.numpy() * symbol, dt=clock.dt)
        if draw in thrown(neuron):
            continue
        lines.append(f"{draw} = stored_{draw}(t, i) : {base(symbol)} (constant over dt)")
    group = b2.NeuronGroup(
        count,
        "\n".join(lines),
        threshold=neuron.threshold,
        reset=neuron.reset_code or None,
        refractory=(neuron.refractory or neuron.t_refractory * b2.ms) if neuron.spiking else False,
        method=neuron.method,
        namespace=physical,
        clock=clock,
        name=name,
    )
    throw(group, neuron)
    initial = {
        name: getattr(start, name).flatten().numpy() * unit(neuron.units[name]) for name in evolving(neuron, start)
    }
    for variable, values in {
        **initial,
        **own,
        bias: np.tile(layer.bias, samples) * unit(neuron.units["current"]),
    }.items():
        setattr(group, variable, values)
    return group


def _parameters(layer: Dense, samples: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters shared by all cells, and those with a value for each cell, as quantities."""
    neuron = layer.neuron
    shared, own = {}, {}
    for name in (field.name for field in fields(neuron) if field.name in neuron.units):
        value = torch.as_tensor(getattr(neuron, name), dtype=torch.float64)
        if value.numel() > 1:
            own[name] = value.expand(samples, len(layer.bias)).flatten().numpy() * unit(neuron.units[name])
        else:
            shared[name] = float(value) * unit(neuron.units[name])
    return shared, own


def _synapses(name: str, source: Any, target: Any, layer: Dense, weight: NDArray[np.float64], into: str) -> Any:
    """Connect two groups with weights `[post, pre]`, copied for each sample, into the target's `feed` or `heard`.

    A spike adds its weight when it arrives; the analog output of cells that never fire is weighted and summed in every
    step.
    """
    b2 = brian2()
    fires = bool(source.thresholder)
    symbol, into = unit(layer.neuron.units["current"]), private(layer.neuron, into)
    of = base(symbol)
    model = f"weight : {of}" + ("" if fires else f"\n{into}_post = weight * {_output(source)}_pre : {of} (summed)")
    on_pre = f"{into}_post += weight" if fires else None
    synapses = b2.Synapses(source, target, model, on_pre=on_pre, clock=target.clock, name=name)
    if fires:
        synapses.pre.when = f"synapses_{source.name}"
    else:
        synapses.summed_updaters[f"{into}_post"].when = f"drive_{target.name}"
    post, pre = (index.ravel() for index in np.indices(weight.shape))
    sample = np.arange(len(target) // len(weight))[:, None]
    synapses.connect(i=(sample * weight.shape[1] + pre).ravel(), j=(sample * len(weight) + post).ravel())
    synapses.weight = np.tile(weight.ravel(), len(sample)) * symbol
    return synapses


def _output(source: Any) -> str:
    """Return the name of the variable that a group of cells without spikes puts out, the one of `private`."""
    names = (name for name in source.user_equations.names if re.fullmatch("output_*", name))
    found: str = max(names, key=len)
    return found


def private(neuron: Neuron | None, name: str) -> str:
    """Return a name of ours in a group, with underscores behind it where the neuron has that name."""
    while neuron is not None and (name in neuron.units or re.search(rf"\b{name}\b", neuron.equations)):
        name += "_"
    return name


def _monitor(name: str, cells: Any) -> Any:
    b2 = brian2()
    if cells.thresholder:
        return b2.SpikeMonitor(cells, name=name)
    return b2.StateMonitor(cells, _output(cells), record=True, when="end", clock=cells.clock, name=name)


Matrix = NDArray[np.float64]


class Dense(NamedTuple):
    """Description of a layer for Brian2."""

    name: str
    neuron: Neuron
    weight: Matrix  # [out, in], nA for an input of 1
    bias: Matrix  # [out], nA
    recurrent: Matrix | None  # [out, out], nA for an output of 1
