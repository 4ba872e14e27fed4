"""The Brian2 objects of a network: groups, synapses, delays, pools, monitors, and their scheduling slots."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sandbox.reference.affine import Edges
from sandbox.reference.brian import drawn, events, evolving, jumps, scheme, throw, thrown
from sandbox.reference.need import brian2
from sandbox.reference.populations import INPUT, Afferent, Cells
from sandbox.reference.quantities import base, give, of_cells, private, refractoriness, stored, unit

SLOTS = (
    "drive",
    "jump",
    "update",
    "threshold",
    "clear",
    "synapses",
    "reset",
    "output",
)  # of a population, in this order
BEFORE = ("line", "count", "threshold", "synapses", "reset")  # of the delays and the pool in front of it
FEED = {"weights": "feed", "shortcut": "joined"}  # the variable that an afferent adds to


def circuit(layers: Sequence[Cells], x: NDArray[np.float64], dt: float) -> Any:
    """Build a `brian2.Network` that runs these populations on an input `[T, B, in]`, with `dt` in ms."""
    b2 = brian2()
    clock = b2.Clock(dt * b2.ms)
    steps, samples, _ = x.shape
    sources = {INPUT: _input(x, clock)}
    objects: list[Any] = [sources[INPUT]]
    slots: list[str] = []
    for number, layer in enumerate(layers):
        cells = sources[number] = _cells(f"cells_{number}", layer, steps, samples, clock)
        objects.append(cells)
        for afferent in layer.afferents:
            where = f"{afferent.role}_{number}{_mark(layer, afferent.input)}"
            objects += _afferent(where, afferent, sources[afferent.source], cells, layer, samples)
            slots += [f"{slot}_{where}" for slot in BEFORE]
        for name, edges in layer.recurrent.items():
            mark = _mark(layer, name)
            own = Weighing(f"recurrent_{number}{mark}", layer, samples, layer.size, edges, name, f"heard{mark}")
            objects.append(own.synapses(cells, cells))
        objects.append(_monitor(f"outputs_{number}", cells))
        slots += [f"{slot}_cells_{number}" for slot in SLOTS]
    network = b2.Network(objects)
    network.schedule = ["start", "groups", "input", *slots, "end"]  # idle objects stay in "start" and "groups"
    return network


def _input(x: NDArray[np.float64], clock: Any) -> Any:
    b2 = brian2()
    steps, samples, width = x.shape
    stimulus = b2.TimedArray(x.reshape(steps, -1), dt=clock.dt)
    group = b2.NeuronGroup(samples * width, "output : 1", clock=clock, namespace={"stimulus": stimulus}, name="input")
    group.run_regularly("output = stimulus(t, i)", when="input")
    return group


def _mark(layer: Cells, name: str) -> str:
    """Return what a name of ours ends in that stands for one of several inputs."""
    return f"_{name}" if layer.neuron.inputs else ""


def _received(layer: Cells, name: str) -> list[str]:
    """Return the variables that are summed to an input of a population, without its bias."""
    roles = [FEED[afferent.role] for afferent in layer.afferents if afferent.input == name]
    return [private(layer.neuron, f"{each}{_mark(layer, name)}") for each in (*roles, "heard")]


def _afferent(where: str, afferent: Afferent, source: Any, cells: Any, layer: Cells, samples: int) -> Iterator[Any]:
    """Yield the objects between a source and a population: a delay line or delays, a pool, and the weights."""
    delay, width = afferent.delay, len(source) // samples
    if delay is not None and not source.thresholder:  # Brian2 delays spikes alone
        source, delay = _line(where, source, np.tile(delay, samples)), None
        yield source
    if afferent.pool is not None:
        pool = _pool(where, samples * afferent.pooled, source)
        counted = Copies(samples, width, afferent.pooled, afferent.pool)
        yield pool
        yield _counting(where, source, pool, counted, delay)
        source, delay, width = pool, None, afferent.pooled
    into = f"{FEED[afferent.role]}{_mark(layer, afferent.input)}"
    weighing = Weighing(where, layer, samples, width, afferent.edges, afferent.input, into)
    yield weighing.synapses(source, cells, delay)


def _line(where: str, source: Any, delay: NDArray[np.int64]) -> Any:
    """Build a delay line of an analog output: as many variables of each cell as the longest delay has steps."""
    b2 = brian2()
    places = range(1, int(delay.max()) + 1)
    variables = ["fresh : 1 (linked)", "delay : integer (constant)", "output : 1", *(f"line{k} : 1" for k in places)]
    group = b2.NeuronGroup(len(source), "\n".join(variables), clock=source.clock, name=f"line_{where}")
    group.fresh = b2.linked_var(source, _output(source))
    group.delay = delay
    heard = " + ".join(["int(delay == 0) * fresh", *(f"int(delay == {k}) * line{k}" for k in places)])
    moved = [f"line{k} = line{k - 1}" for k in reversed(places[1:])]
    moved += ["line1 = fresh"] * bool(places)
    group.run_regularly("\n".join([f"output = {heard}", *moved]), when=f"line_{where}")
    return group


def _pool(where: str, count: int, source: Any) -> Any:
    """Build the cells of a max pool: each fires in the step in which any input of its window is 1."""
    group = brian2().NeuronGroup(
        count, "arrived : 1", threshold="arrived > 0.5", reset="arrived = 0", clock=source.clock, name=f"pool_{where}"
    )
    for thresholder in group.thresholder.values():
        thresholder.when = f"threshold_{where}"
    for resetter in group.resetter.values():
        resetter.when = f"reset_{where}"
    return group


def _counting(where: str, source: Any, pool: Any, copies: Copies, delay: NDArray[np.int64] | None) -> Any:
    """Count what arrives in each window: spikes, or an input of zeros and ones."""
    b2 = brian2()
    name, clock = f"windows_{where}", source.clock
    if source.thresholder:
        synapses = b2.Synapses(source, pool, on_pre="arrived_post += 1", clock=clock, name=name)
        synapses.pre.when = f"synapses_{source.name}"
    else:
        model = f"arrived_post = {_output(source)}_pre : 1 (summed)"
        synapses = b2.Synapses(source, pool, model, clock=clock, name=name)
        synapses.summed_updaters["arrived_post"].when = f"count_{where}"
    copies.connect(synapses)
    if delay is not None:
        synapses.delay = copies.of_pre(delay) * clock.dt
    return synapses


def _cells(name: str, layer: Cells, steps: int, samples: int, clock: Any) -> Any:
    """Build a population at rest, copied for each sample, with a scheduling slot for each part of its step."""
    group = _group(name, layer, steps, samples, clock)
    group.state_updater.when = f"update_{name}"
    units = layer.neuron.units
    cleared = [f"{each} = 0 * ({units[input]})" for input in layer.inputs for each in _received(layer, input)]
    group.run_regularly("\n".join(cleared), when=f"clear_{name}")
    for event, thresholder in group.thresholder.items():
        thresholder.when, thresholder.order = f"threshold_{name}", int(event != "spike")
    for event, resetter in group.resetter.items():
        resetter.when, resetter.order = f"reset_{name}", int(event != "spike")
    if not layer.neuron.spiking:
        v, output = layer.neuron.membrane, private(layer.neuron, "output")
        group.run_regularly(f"{output} = {v} / ({layer.neuron.units[v]})", when=f"output_{name}")
    return group


def _group(name: str, layer: Cells, steps: int, samples: int, clock: Any) -> Any:
    b2 = brian2()
    neuron, count = layer.neuron, samples * layer.size
    start = neuron.initial_state((samples, *layer.shape), torch.zeros((), dtype=torch.float64))
    physical, own = of_cells(neuron, (samples, *layer.shape))
    lines, added, sums = [neuron.equations], jumps(neuron), {}
    for input in layer.inputs:
        amount, bias = unit(neuron.units[input]), private(neuron, f"bias{_mark(layer, input)}")
        own[bias] = np.tile(layer.bias[input], samples) * amount
        sums[input] = " + ".join([*_received(layer, input), bias])
        lines += [f"{each} : {base(amount)}" for each in _received(layer, input)]
        lines += [f"{input} = {sums[input]} : {base(amount)}"] * (input not in added)
    lines += [f"{each} : {base(values)} (constant)" for each, values in own.items()]
    lines += [f"{private(neuron, 'output')} : 1"] * (not neuron.spiking)
    for draw, values in drawn(neuron, start, torch.zeros(steps, count, dtype=torch.float64)).items():
        symbol, array = unit(neuron.units[draw]), stored(neuron, draw)
        physical[array] = b2.TimedArray(values.flatten(1).numpy() * symbol, dt=clock.dt)
        if draw not in thrown(neuron):
            lines.append(f"{draw} = {array}(t, i) : {base(symbol)} (constant over dt)")
    group = b2.NeuronGroup(
        count,
        "\n".join(lines),
        threshold=neuron.threshold,
        reset=neuron.reset_code or None,
        refractory=refractoriness(neuron) if neuron.spiking else False,
        method=scheme(neuron),
        namespace=physical,
        clock=clock,
        name=name,
        events={event: condition for event, (condition, _) in events(neuron).items()} or None,
    )
    for event, (_, statements) in events(neuron).items():
        group.run_on_event(event, statements)
    for input, variable in added.items():
        group.run_regularly(f"{variable} += {sums[input]}", when=f"jump_{name}")
    throw(group, neuron)
    initial = {
        each: getattr(start, each).flatten().numpy() * unit(neuron.units[each]) for each in evolving(neuron, start)
    }
    give(group, {**initial, **own})
    return group


class Copies(NamedTuple):
    """The entries of a matrix, once for each sample."""

    samples: int
    inputs: int
    outputs: int
    edges: Edges

    def connect(self, synapses: Any) -> None:
        """Create the synapses."""
        sample = np.arange(self.samples)[:, None]
        pre, post = sample * self.inputs + self.edges.pre, sample * self.outputs + self.edges.post
        synapses.connect(i=pre.ravel(), j=post.ravel())

    def of_pre(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a value of each input for each synapse."""
        return np.tile(values[self.edges.pre], self.samples)


class Weighing(NamedTuple):
    """Weights `[post, pre]` that lead to a population, copied for each sample."""

    name: str
    layer: Cells
    samples: int
    inputs: int
    edges: Edges
    input: str  # of the neuron
    into: str  # the variable that they add to

    def synapses(self, source: Any, target: Any, delay: NDArray[np.int64] | None = None) -> Any:
        """Connect two groups.

        A spike adds its weight when it arrives; the analog output of cells that never fire is weighted and summed in
        every step.
        """
        b2 = brian2()
        amount, into = unit(self.layer.neuron.units[self.input]), private(self.layer.neuron, self.into)
        of, fires = base(amount), bool(source.thresholder)
        summed = "" if fires else f"\n{into}_post = weight * {_output(source)}_pre : {of} (summed)"
        on_pre = f"{into}_post += weight" if fires else None
        made = b2.Synapses(source, target, f"weight : {of}{summed}", on_pre=on_pre, clock=target.clock, name=self.name)
        if fires:
            made.pre.when = f"synapses_{source.name.removeprefix('pool_')}"
        else:
            made.summed_updaters[f"{into}_post"].when = f"drive_{target.name}"
        copies = Copies(self.samples, self.inputs, self.layer.size, self.edges)
        copies.connect(made)
        made.weight = np.tile(self.edges.weight, self.samples) * amount
        if delay is not None:
            made.delay = copies.of_pre(delay) * target.clock.dt
        return made


def _output(source: Any) -> str:
    """Return the name of the variable that a group of cells without spikes puts out, the one of `private`."""
    names = (name for name in source.user_equations.names if re.fullmatch("output_*", name))
    found: str = max(names, key=len)
    return found


def _monitor(name: str, cells: Any) -> Any:
    b2 = brian2()
    if cells.thresholder:
        return b2.SpikeMonitor(cells, name=name)
    return b2.StateMonitor(cells, _output(cells), record=True, when="end", clock=cells.clock, name=name)
