"""Graphs of NIR from networks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from rules.forward import fold
from sandbox.networks.delays import Delayed, DelayedPart
from sandbox.networks.network import Layer, Network, Residual
from sandbox.networks.parts import Neurons, Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons.learnable import learnables
from sandbox.nir.cells import NODES, arrays, beyond
from sandbox.nir.metadata import encoded, noted
from sandbox.nir.modules import Shape, node_of
from sandbox.nir.need import package


def to_nir(network: Network | Stack) -> Any:
    """Return a network as a NIR graph, `nir.NIRGraph`, which `nir.write` stores and other programs read.

    Times are in seconds there. What NIR has no field for is in the metadata of a node, from which `from_nir` makes the
    same network again, bit for bit: the reset by subtraction, the refractory period, spikes at v = v_threshold, the
    surrogate, which constants are learned. Other programs do not read it; a warning names what changes for them.
    Learned constants are written as they are now. Weights of a `Sparse` synapse are a matrix with zeros.

    Args:
        network: of `sandbox.build`, or a `Stack` that `from_nir` made; weights on any device.

    Returns: The graph. Names of its nodes are those of the modules, with underscores.

    Raises:
        ImportError: without the package nir.
        ValueError: for a part, a neuron or an option that NIR has no node for, with its name and what to do.

    >>> import sandbox
    >>> graph = sandbox.to_nir(sandbox.build((4,), 3, ("5r",)))
    >>> [type(node).__name__ for node in graph.nodes.values()]
    ['Input', 'Affine', 'LIF', 'Linear', 'Affine', 'LI', 'Output']

    Reference: Pedersen et al. 2024 (doi 10.1038/s41467-024-52259-9).
    """
    package()
    if not isinstance(network, (Network, Stack)):
        raise ValueError(
            f"the network is a {type(network).__name__}; wanted one of sandbox.build, or of sandbox.from_nir"
        )
    cells = [module for module in network.modules() if isinstance(module, Population)]
    steps = sorted({population.dt for population in cells})
    if len(steps) > 1:
        raise ValueError(f"populations have time steps of {', '.join(f'{dt:g}' for dt in steps)} ms: give them one")
    writer = _Writer(network, steps[0] if steps else None)
    for number, part in enumerate(network.layers):
        writer.part(f"layers_{number}", part)
    return writer.graph()


class _Writer:
    """Collects nodes and edges, and follows the shape of what passes through."""

    def __init__(self, network: Network | Stack, dt: float | None) -> None:
        first = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
        self.dt = dt
        self.dtype, self.device = first.dtype, first.device
        self.shape: Shape = tuple(network.shape)
        self.nodes: dict[str, Any] = {"input": package().Input({"input": np.array(self.shape)})}
        self.edges: list[tuple[str, str]] = []
        self.last = "input"

    def graph(self) -> Any:
        self.add("output", package().Output({"output": np.array(self.shape)}))
        told = {"dtype": str(self.dtype).removeprefix("torch.")} | ({} if self.dt is None else {"dt": self.dt})
        return package().NIRGraph(self.nodes, self.edges, metadata=noted(**told))

    def add(self, name: str, node: Any) -> None:
        self.nodes[name] = node
        self.edges.append((self.last, name))
        self.last = name

    def part(self, name: str, part: nn.Module) -> None:
        if isinstance(part, Layer):
            self.modules(f"{name}_synapse", part.synapse)
            self.cells(f"{name}_cells", part.cells)
        elif isinstance(part, Neurons):
            self.cells(f"{name}_cells", part.cells)
        elif isinstance(part, Stateless):
            self.modules(name, part.module)
        elif isinstance(part, Residual):
            self.block(name, part)
        elif isinstance(part, Delayed):
            self.delay(name, part.steps)
        elif isinstance(part, DelayedPart):
            delays = part.delays
            raw = delays.learned["raw"].detach().double().cpu()
            told = noted(longest=delays.longest, raw=raw.flatten().tolist(), shape=list(raw.shape))
            self.delay(f"{name}_delays", delays.whole, told)
            self.part(f"{name}_part", part.part)
        else:
            raise ValueError(
                f"{name} is a {type(part).__name__}, for which NIR has no node: networks of layers, of residual "
                "blocks and of what from_nir makes can be written"
            )

    def modules(self, name: str, module: nn.Module) -> None:
        """Add a module, or those of a sequence one after the other."""
        for number, one in enumerate(module if isinstance(module, nn.Sequential) else [module]):
            own = f"{name}_{number}" if isinstance(module, nn.Sequential) else name
            node = node_of(own, one, self.shape)
            if node is not None:
                self.add(own, node)
                self.shape = self.passed(own, one)

    def passed(self, name: str, module: nn.Module) -> Shape:
        with torch.no_grad():
            zero = torch.zeros(1, 1, *self.shape, dtype=self.dtype, device=self.device)
            return tuple(fold(module, zero).shape[2:])

    def cells(self, name: str, cells: Population) -> None:
        cell = cells.present()
        if type(cell) not in NODES:
            known = ", ".join(kind.__name__ for kind in NODES)
            raise ValueError(
                f"{name} is made of {type(cell).__name__}, for which NIR has no node: build the network with one of "
                f"{known}"
            )
        if more := beyond(cell):
            warnings.warn(
                f"node {name!r}: {', '.join(more)} cannot be said in NIR; it is in the metadata, which other programs "
                "do not read",
                stacklevel=5,
            )
        kind, _ = NODES[type(cell)]
        data = encoded(cell, learnables(cells.neuron))
        self.add(name, getattr(package(), kind)(**arrays(cell, self.shape), metadata=noted(cell=data)))
        if cells.recurrent is not None:
            back = f"{name.removesuffix('cells')}recurrent"
            self.nodes[back] = node_of(back, cells.recurrent, self.shape)
            self.edges += [(name, back), (back, name)]

    def block(self, name: str, block: Residual) -> None:
        entered, shape = self.last, self.shape
        for number, layer in enumerate(block.stack):
            self.part(f"{name}_layers_{number}", layer)
        end, after = self.last, self.shape
        self.last, self.shape = entered, shape
        self.modules(f"{name}_shortcut", block.shortcut)
        if (self.last, end) in self.edges:
            raise ValueError(f"{name} has no weights beside its shortcut, and NIR has one edge between two nodes")
        self.edges.append((self.last, end))
        self.last, self.shape = end, after

    def delay(self, name: str, steps: torch.Tensor, metadata: dict[str, str] | None = None) -> None:
        if self.dt is None:
            raise ValueError(f"{name} delays by steps, and without neurons nobody knows how long one is: add some")
        every = np.array(np.broadcast_to(steps.double().cpu().numpy(), self.shape))
        self.add(name, package().Delay(delay=every * self.dt / 1000, metadata=metadata or {}))
