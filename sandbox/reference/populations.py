"""The populations of a network and the ways between them, as Brian2 needs them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sandbox.networks.delays import Delayed, DelayedPart
from sandbox.networks.network import Layer, Network, Residual
from sandbox.networks.parts import Neurons, Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons.base import Neuron
from sandbox.reference.affine import Edges, Shape, affine, pooling, reshapes, windows
from sandbox.reference.brian import with_equations
from sandbox.synapses.by_input import ByInput

INPUT = -1  # in place of the number of a population


class Afferent(NamedTuple):
    """A way from one population, or from the input, to another."""

    role: str  # "weights" or "shortcut", of which each input of a population has one each
    input: str  # of the neuron, "current" where it has one
    source: int  # number of the population it comes from, or `INPUT`
    edges: Edges  # nA for an input of 1
    delay: NDArray[np.int64] | None  # steps, of each cell of the source
    pool: Edges | None  # of the max pool between source and weights: the windows of its outputs
    pooled: int  # number of these


class Cells(NamedTuple):
    """A population and what it receives."""

    name: str
    neuron: Neuron
    shape: Shape
    bias: dict[str, NDArray[np.float64]]  # nA, of each cell, by input
    afferents: tuple[Afferent, ...]
    recurrent: dict[str, Edges]  # by input; empty for none
    dt: float  # [ms]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the neuron's inputs, "current" for a single one."""
        return inputs_of(self.neuron)

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)


class Signal(NamedTuple):
    """What a part receives: the output of a population behind delays and modules."""

    source: int
    start: Shape  # of the source
    modules: tuple[nn.Module, ...] = ()
    delay: Tensor | None = None  # steps, of the shape of the source


def populations(network: Network | Stack) -> list[Cells]:
    """Return the populations of a network in float64, first to last.

    Raises:
        ValueError: for a part, a module or a neuron that Brian2 cannot be given, with its name and what to do.
    """
    writer = _Writer()
    signal = Signal(INPUT, tuple(network.shape))
    for number, part in enumerate(network.layers):
        signal = writer.part(f"layers.{number}", part, signal)
    if not writer.found or signal.modules or signal.delay is not None:
        raise ValueError(
            "the network does not end with cells, and Brian2 records those alone: put a read-out of cells behind, such "
            "as sandbox.LeakyIntegrator()"
        )
    return writer.found


class _Writer:
    """Collects populations."""

    def __init__(self) -> None:
        self.found: list[Cells] = []

    def part(self, name: str, part: nn.Module, signal: Signal) -> Signal:
        """Add the populations of a part, and return what leaves it."""
        if isinstance(part, Layer):
            return self.cells(name, part.cells, [("weights", _behind(signal, part.synapse))])
        if isinstance(part, Neurons):
            return self.cells(name, part.cells, [("weights", signal)])
        if isinstance(part, Residual):
            return self.block(name, part, signal)
        if isinstance(part, DelayedPart):
            if part.delays.training and not torch.equal(part.delays.steps, part.delays.steps.round()):
                raise ValueError(
                    f"{name} has learned delays in training mode, between whole steps, which Brian2 does not know: "
                    "call network.eval() first"
                )
            return self.part(name, part.part, _late(name, signal, part.delays.whole))
        if isinstance(part, Delayed):
            return _late(name, signal, part.steps)
        if isinstance(part, Stateless):
            return _behind(signal, part.module)
        raise ValueError(
            f"{name} is a {type(part).__name__}, which cannot be converted: use the layers and residual blocks of "
            "sandbox.build, and delays"
        )

    def block(self, name: str, block: Residual, signal: Signal) -> Signal:
        *inner, last = block.stack
        inside = signal
        for number, layer in enumerate(inner):
            inside = self.part(f"{name}.layers.{number}", layer, inside)
        ways = [("weights", _behind(inside, last.synapse)), ("shortcut", _behind(signal, block.shortcut))]
        return self.cells(f"{name}.layers.{len(inner)}", last.cells, ways)

    def cells(self, name: str, cells: Population, ways: Sequence[tuple[str, Signal]]) -> Signal:
        """Add a population."""
        neuron = with_equations(cells.present())
        named = inputs_of(neuron)
        afferents = []
        bias: dict[str, NDArray[np.float64]] = {}
        shape: Shape = ()
        for role, signal in ways:
            for number, modules in enumerate(_by_input(name, neuron, signal.modules)):
                made, own, shape = _afferent(name, role, named[number], signal._replace(modules=modules))
                afferents.append(made)
                bias[named[number]] = bias.get(named[number], 0.0) + own
        recurrent = {}
        if cells.recurrent is not None:
            for number, modules in enumerate(_by_input(name, neuron, (cells.recurrent,))):
                hears = affine(f"{name}.cells.recurrent", modules, shape)
                recurrent[named[number]] = hears.edges
                bias[named[number]] = bias[named[number]] + hears.bias
        self.found.append(Cells(name, neuron, shape, bias, tuple(afferents), recurrent, cells.dt))
        return Signal(len(self.found) - 1, shape)


def inputs_of(neuron: Neuron) -> tuple[str, ...]:
    """Return the names of a neuron's inputs, "current" for a single one."""
    return neuron.inputs or ("current",)


def _by_input(name: str, neuron: Neuron, modules: tuple[nn.Module, ...]) -> list[tuple[nn.Module, ...]]:
    """Return the modules in front of each input of a neuron."""
    if not neuron.inputs:
        return [modules]
    *before, last = modules or (nn.Identity(),)
    if not isinstance(last, ByInput):
        raise ValueError(
            f"{name} has a {type(last).__name__} in front of cells with the inputs {', '.join(neuron.inputs)}: give "
            "each a synapse of its own, as sandbox.build does (sandbox.synapses.by_input.ByInput)"
        )
    return [(*before, synapse) for synapse in last.inputs.values()]


def _afferent(name: str, role: str, input: str, signal: Signal) -> tuple[Afferent, NDArray[np.float64], Shape]:
    """Return a way to an input of a population, its bias, and the shape of the population."""
    before, behind = pooling(name, signal.modules)
    pool = windows(name, before, signal.start)
    found = affine(name, behind if pool else [*before, *behind], pool[1] if pool else signal.start)
    delay = None if signal.delay is None else signal.delay.flatten().numpy()
    pooled = (pool[0], math.prod(pool[1])) if pool else (None, 0)
    return Afferent(role, input, signal.source, found.edges, delay, *pooled), found.bias, found.shape


def _behind(signal: Signal, module: nn.Module) -> Signal:
    return signal._replace(modules=(*signal.modules, module))


def _late(name: str, signal: Signal, steps: Tensor) -> Signal:
    """Return a signal behind delays, those of a signal that comes late already added."""
    if not reshapes(signal.modules):
        raise ValueError(
            f"{name} delays what weights or pools have made of spikes; in Brian2 a delay is one of spikes: put it in "
            "front of them"
        )
    with torch.no_grad():
        seen = torch.zeros(1, *signal.start, dtype=torch.float64)
        for module in signal.modules:
            seen = module(seen)
    more = steps.broadcast_to(seen.shape[1:]).reshape(signal.start)
    return signal._replace(delay=more if signal.delay is None else signal.delay + more)
