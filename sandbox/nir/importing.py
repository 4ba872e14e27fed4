"""Networks from graphs of NIR."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rules.errors import unknown
from sandbox.networks.delays import Delayed, DelayedPart, Delays
from sandbox.networks.network import Layer, Network, Part, Residual
from sandbox.networks.parts import Neurons, Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons import Cell
from sandbox.nir.cells import cell_of
from sandbox.nir.metadata import notes
from sandbox.nir.modules import Shape, module_of, passed
from sandbox.nir.need import package
from sandbox.nir.schemes import RESETS, SCHEMES, Reset, Scheme
from sandbox.nir.wiring import NEURONS, Block, Wiring, chain, wired

WHOLE = 1e-6  # of a step, by which a delay may miss a whole number of steps
READ = "1."  # versions of NIR


def from_nir(
    graph: Any,
    dt: float | None = None,
    scheme: str = "exact",
    reset: Reset | None = None,
    dtype: torch.dtype | None = None,
) -> Network | Stack:
    """Return the network of a NIR graph.

    NIR states equations in seconds, and a spike where v > v_threshold. Signals are constant within a step, and a spike
    is a 1 that lasts for one step; `w_in` is part of the resistance here. With scheme="exact" each step is the solution
    of the equations, and a spike falls on the end of a step. "euler" takes steps of forward Euler. The names of
    programs ("snntorch", "norse", "sinabs", "spikingjelly") mean what their exporters mean, so that the network gives
    that program's own spikes (`sandbox.nir.SCHEMES`, docs/nir.md).

    A chain of nodes becomes a `Network` of layers; with neurons that no weights drive, a delay, or an end without
    neurons, it is a `Stack` of parts, which rules for whole models train (bptt). A neuron may hear itself through one
    Linear or Affine, a step later, and two ways may meet at a neuron if one of them is a shortcut without neurons.
    Parameters of each cell become tensors.

    Args:
        graph: a `nir.NIRGraph`, or a file of `nir.write`.
        dt: time step [ms]; None for that of the network that `to_nir` wrote, or the exporter's usual one: 0.1 for
            snntorch and spikingjelly, 1 for norse, 1000 for sinabs, whose time constants are in steps. Give the dt of
            the export where that had another.
        scheme: "exact", "euler", or the exporter.
        reset: "to_value", "subtract", "delayed_subtract" (the threshold is subtracted in the step behind the spike) or
            "none"; None for what the metadata or the scheme say. NIR itself has no word for it.
        dtype: of the parameters; None for that of the network that `to_nir` wrote, or torch's default.

    Returns: The network, whose names of parts are not those of the nodes.

    Raises:
        ImportError: without the package nir.
        ValueError: for a graph that cannot be a network here, with the name of the node and what to do.

    >>> import sandbox
    >>> net = sandbox.build((4,), 3, (5,))
    >>> again = sandbox.from_nir(sandbox.to_nir(net))
    >>> x = torch.rand(10, 2, 4)
    >>> bool(torch.equal(net(x).output, again(x).output))
    True

    Reference: Pedersen et al. 2024 (doi 10.1038/s41467-024-52259-9).
    """
    graph = _graph(graph)
    if scheme not in SCHEMES:
        raise unknown("scheme", scheme, SCHEMES)
    if reset is not None and reset not in RESETS:
        raise unknown("reset", reset, RESETS)
    said = notes("the graph", graph.metadata)
    step = dt or said.get("dt") or SCHEMES[scheme].dt
    if step is None:
        raise ValueError(f"scheme={scheme!r} needs a time step, which the graph does not have: give dt in ms")
    if not 0 < step < float("inf"):
        raise ValueError(f"dt={dt}: give a positive time step in ms")
    kind = dtype or (getattr(torch, said["dtype"]) if "dtype" in said else torch.get_default_dtype())
    found = wired(graph)
    for name, node in found.nodes.items():
        for parameter, value in vars(node).items():
            if (
                isinstance(value, np.ndarray)
                and value.dtype.kind == "f"
                and np.isnan(value).any()
                and parameter[:3] != "tau"
            ):
                raise ValueError(f"{parameter} of node {name!r} is not a number: repair the graph")
    maker = _Maker(found, SCHEMES[scheme], float(step), reset, kind)
    start = next(name for name in found.nodes if found.kind(name) == "Input")
    shape = _shape(start, found.nodes[start].input_type)
    parts = maker.parts(chain(found), shape)
    layered = all(isinstance(part, (Layer, Residual, DelayedPart)) for part in parts)
    return Network(parts, shape) if layered else Stack(parts, shape)


def _graph(given: Any) -> Any:
    nir = package()
    if isinstance(given, (str, Path)):
        version = nir.serialization.read_version(given)
        if not version.startswith(READ):
            raise ValueError(f"{given} is of NIR {version}, and {READ}x is read here: write it anew with nir.write")
        given = nir.read(given)
    if not isinstance(given, nir.NIRGraph):
        raise ValueError(f"graph is a {type(given).__name__}; wanted a nir.NIRGraph or a file of nir.write")
    version = str(given.metadata.get("version", READ))
    if not version.startswith(READ):
        raise ValueError(f"the graph says that it is of NIR {version}, and {READ}x is read here: export it anew")
    return given


def _shape(name: str, types: Any) -> Shape:
    value = (types or {}).get("input")
    if value is None:
        raise ValueError(
            f"node {name!r} has no shape, and that of a Conv (input_shape) may follow from it: "
            "give nir.Input(input_type=...)"
        )
    return tuple(int(size) for size in np.atleast_1d(value))


class _Maker:
    """Makes parts of nodes, and follows the shape of what passes through."""

    def __init__(self, found: Wiring, scheme: Scheme, dt: float, reset: str | None, dtype: torch.dtype) -> None:
        self.found, self.scheme, self.dt, self.reset, self.dtype = found, scheme, dt, reset, dtype

    def parts(self, pieces: Iterable[str | Block], shape: Shape) -> list[nn.Module]:
        made: list[nn.Module] = []
        waiting: list[nn.Module] = []
        learned: Delays | None = None  # of the part that comes next
        self.shape = shape
        for piece in pieces:
            if isinstance(piece, Block):
                made += [Stateless(_joined(waiting))] if waiting else []
                made.append(behind(learned, self.block(piece)))
                learned = None
            elif self.found.kind(piece) in NEURONS:
                cells = self.cells(piece)
                made.append(behind(learned, Layer(_joined(waiting), cells) if waiting else Neurons(cells)))
                learned = None
            elif self.found.kind(piece) == "Delay":
                made += [Stateless(_joined(waiting))] if waiting else []
                learned = self.learned_delays(piece)
                made += [self.delay(piece)] if learned is None else []
            else:
                waiting.append(self.module(piece))
                continue
            waiting = []
        made += [Stateless(_joined(waiting))] if waiting else []
        if not made:
            raise ValueError("the graph has no node between input and output: give it one")
        return made

    def module(self, name: str) -> nn.Module:
        made = module_of(name, self.found.nodes[name], self.shape, self.dtype)
        self.shape = passed(name, made, self.shape, self.dtype)
        return made

    def block(self, block: Block) -> Residual:
        entered = self.shape
        shortcut = [self.module(name) for name in block.shortcut]
        short, self.shape = self.shape, entered
        layers: list[Layer] = []
        waiting: list[nn.Module] = []
        for name in block.body:
            if self.found.kind(name) == "Delay":
                raise ValueError(f"node {name!r} is a Delay inside of a block with a shortcut: put it in front of both")
            if self.found.kind(name) not in NEURONS:
                waiting.append(self.module(name))
                continue
            if name == block.body[-1] and short != self.shape:
                raise ValueError(f"signals of shapes {self.shape} and {short} meet at node {name!r}: make them alike")
            layers.append(Layer(_joined(waiting), self.cells(name)))
            waiting = []
        return Residual(layers, _joined(shortcut) if shortcut else None)

    def cells(self, name: str) -> Population:
        node = self.found.nodes[name]
        kept = notes(f"node {name!r}", node.metadata).get("cell", {})
        cell: Cell = cell_of(name, node, self.shape, self.scheme, self.dt, self.reset, kept)
        recurrent: Any = None
        if name in self.found.loops:
            back = self.found.loops[name]
            if len(self.shape) != 1:
                raise ValueError(f"node {back!r} leads back to {name!r}, of shape {self.shape}: flatten in front of it")
            recurrent = module_of(back, self.found.nodes[back], self.shape, self.dtype)
        with warnings.catch_warnings():  # a scheme of its own is meant, whatever it resolves
            if not self.scheme.exact:
                warnings.simplefilter("ignore")
            return Population(cell, self.dt, recurrent, channels=self.shape[0] if self.shape else None).to(self.dtype)

    def learned_delays(self, name: str) -> Delays | None:
        """Return the delays of a node that `to_nir` wrote of learned ones; None for any other."""
        kept = notes(f"node {name!r}", self.found.nodes[name].metadata)
        if "raw" not in kept:
            return None
        made = Delays(kept["shape"], kept["longest"]).to(self.dtype)
        with torch.no_grad():
            made.learned["raw"].copy_(torch.tensor(kept["raw"], dtype=torch.float64).reshape(kept["shape"]))
        return made

    def delay(self, name: str) -> Delayed:
        steps = np.asarray(self.found.nodes[name].delay, np.float64) * 1000 / self.dt
        whole = np.rint(steps)
        if not np.isfinite(steps).all() or (steps < 0).any():
            raise ValueError(f"node {name!r} has delays of {steps.min():g} to {steps.max():g} steps: give 0 or more")
        if (np.abs(steps - whole) > WHOLE).any():
            raise ValueError(
                f"node {name!r} delays by {steps.min():g} to {steps.max():g} steps of {self.dt:g} ms: delays are whole "
                "numbers of steps, so give a dt that divides them"
            )
        if whole.size > 1 and whole.shape != self.shape:
            raise ValueError(f"delay of node {name!r} has shape {whole.shape}, and what arrives has {self.shape}")
        return Delayed(torch.from_numpy(whole.astype(np.int64).reshape(whole.shape if whole.size > 1 else ())))


def behind(delays: Delays | None, part: Part) -> Part:
    """Return a part behind learned delays, if there are any."""
    return part if delays is None else DelayedPart(delays, part)


def _joined(modules: list[nn.Module]) -> nn.Module:
    if not modules:
        return nn.Identity()
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)
