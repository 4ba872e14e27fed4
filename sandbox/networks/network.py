"""Networks of neurons: layers, residual blocks, and the carry from which a sequence continues."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.forward import fold
from rules.synapses import weights_of
from rules.traces import entering, gathered, name_of, presynaptic
from sandbox.networks.population import Population
from sandbox.neurons.base import Neuron
from sandbox.neurons.two_compartment import TwoCompartment
from sandbox.synapses.by_input import fitting


class Part(nn.Module, ABC):
    """A stage of a network, which declares what it offers to rules.

    `forward(x)` maps a sequence `[T, B, ...]` to a sequence from rest, as rules call it. `run` continues from a carry,
    can record, and hears how many steps of each sequence count, which matters to parts that mix steps. A trace whose
    `u` is its `post` belongs to a weight without neurons, so far, and one without a name to neurons without a weight.
    """

    @property
    def offers(self) -> frozenset[str]:
        """What the part offers to rules, keys of `rules.NEEDS`."""
        return frozenset({"gradient"})

    @property
    def lacks(self) -> dict[str, str]:
        """What a network with this part does not offer to rules, and why; nothing by default."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    @abstractmethod
    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry; with `record`, return the traces of its weights.

        Args:
            x: `[T, B, ...]`.
            carry: of the step before; None for rest.
            record: whether to return traces.
            lengths: `[B]`, steps that count; None for all.
        """


class Layer(Part):
    """A synapse, applied at every step, and the population it drives; a `ByInput` for cells with several inputs.

    Raises:
        ValueError: for a `ByInput` whose synapses are not those of the inputs of the cells.
    """

    def __init__(self, synapse: nn.Module, cells: Population) -> None:
        super().__init__()
        fitting(synapse, cells.neuron.inputs, type(cells.neuron).__name__)
        self.synapse = synapse
        self.cells = cells

    @property
    def offers(self) -> frozenset[str]:
        """`gradient` if the cells are differentiable, and `bits` if they also put out zeros and ones."""
        neuron = self.cells.neuron
        if not neuron.differentiable:
            return frozenset()
        return frozenset({"gradient", "bits"} if neuron.spiking and neuron.levels == 1 else {"gradient"})

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry; the traces are those of the last feed-forward and the recurrent weight."""
        if not record:
            return self.respond(x, fold(self.synapse, x), carry, record)
        with entering(self.synapse) as entered:
            currents = fold(self.synapse, x)
        run = self.respond(x, currents, carry, record)
        if not (entered and run.traces):
            return run
        synapse, signal = entered[-1]
        pre = presynaptic(signal, x)
        first = run.traces[0]._replace(weight=name_of(synapse, self), pre=x if pre is None else pre)
        return run._replace(traces=(first, *run.traces[1:]))

    def respond(self, x: Tensor, currents: Tensor, carry: Any, record: bool) -> Run:
        """Run the population on `currents`, which the synapse computed from `x`."""
        start = self.cells.rest(currents) if carry is None else carry
        output, end, u = self.cells(currents, start, record)
        if u is None:
            return Run(output, end)
        owned = {id(p) for part in self.synapse.modules() for p in weights_of(part)}
        weight = next((f"synapse.{name}" for name, p in self.synapse.named_parameters() if id(p) in owned), "")
        traces: tuple[Trace, ...] = (Trace(weight, x, u, output),)
        if start[1] is not None and not self.cells.neuron.inputs:  # of several weights none is the one
            heard = torch.cat([start[1][None], output[:-1]])
            traces += (Trace("cells.recurrent.weight", heard, u, output),)
        return Run(output, end, traces)


class Residual(Part):
    """Layers whose last population also receives the block's input as a current.

    The sum is taken before the neuron, so that spikes stay binary; this is a choice of ours. `shortcut` maps the input
    to the shape of the output if they differ. Reference: He et al. 2016 (arXiv 1512.03385).
    """

    def __init__(self, layers: Sequence[Layer], shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shortcut = shortcut or nn.Identity()

    @property
    def offers(self) -> frozenset[str]:
        """What all layers of the block offer."""
        return frozenset.intersection(*(layer.offers for layer in self.stack))

    @property
    def lacks(self) -> dict[str, str]:
        """Cells, for rules that go step by step through one synapse."""
        return {"cells": "it has residual blocks, which are not layers of a synapse and cells"}

    @property
    def stack(self) -> list[Layer]:
        """The layers, first to last."""
        return list(self.layers)  # type: ignore[arg-type]  # ModuleList is not generic

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry, which has one entry for each layer inside."""
        *inner, last = self.stack
        *starts, start = [None] * len(self.layers) if carry is None else carry
        body = through(inner, x, starts, record)
        currents = fold(last.synapse, body.output) + fold(self.shortcut, x)
        end = last.respond(body.output, currents, start, record)
        traces = body.traces + renamed(str(len(inner)), end.traces)
        return Run(end.output, (*body.carry, end.carry), renamed("layers", traces))


class Network(nn.Module):
    """A stack of layers and residual blocks; the output of the last one is the output of the network.

    `network(x)` takes `[T, B, *shape]` and returns `rules.Run(output [T, B, classes], carry, traces)`. Pass the carry
    to the next call to continue the sequence; pass `record=True` for traces.

    Args:
        layers: layers and residual blocks, first to last.
        shape: of one sample at one time.

    Raises:
        ValueError: in a call, for input of another shape.
        TypeError: in a call, for input that is not floating point.

    >>> from sandbox import LIF, LeakyIntegrator, build
    >>> net = build(shape=(4,), classes=3, hidden=(30,), neuron=LIF(), readout=LeakyIntegrator())
    >>> net(torch.zeros(10, 2, 4)).output.shape
    torch.Size([10, 2, 3])
    """

    classless = False  # whether outputs stand for classes only once learning has said for which
    meant = False  # whether initial weights have a meaning of their own, and are not scaled to a firing rate

    def __init__(self, layers: Sequence[nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shape = tuple(shape)

    @property
    def offers(self) -> frozenset[str]:
        """`layers`, `carry`, `cells`, unless it lacks them, and what all parts offer; the read-out need not fire.

        Also `dendrites`, if the cells of the read-out have them.
        """
        *hidden, readout = (part.offers for part in self.stack)
        shared = frozenset.intersection(*hidden, readout | {"bits"})
        found = shared | ({"layers", "carry", "cells"} - self.lacks.keys())
        last = self.stack[-1]
        dendrites = isinstance(last, Layer) and isinstance(last.cells.neuron, TwoCompartment)
        return found | ({"dendrites"} if dendrites and "cells" in found else set())

    @property
    def lacks(self) -> dict[str, str]:
        """What this network does not offer to rules because of its parts, and why."""
        cells = {name: module.neuron for name, module in self.named_modules() if isinstance(module, Population)}
        found = {}
        for part in self.stack:
            found.update(part.lacks if isinstance(part, Part) else {})
        for name, cell in cells.items():
            kind = type(cell).__name__
            if cell.inputs:
                found["cells"] = found["layers"] = (
                    f"{name} has several inputs ({', '.join(cell.inputs)}), so that no single weight drives a cell; "
                    "use a rule that asks for gradients or losses alone, such as bptt or spsa"
                )
            if cell.levels > 1:
                found["bits"] = f"{name} is made of {kind}, which puts out up to {cell.levels} spikes in a step"
            if not isinstance(cell, Neuron) or cell.shared:
                found["cells"] = (
                    f"{name} is made of {kind}, which does not run each cell by itself step by step; use another "
                    "neuron, such as lif, or a rule such as bptt"
                )
            if not cell.causal:
                found["carry"] = (
                    f"{name} is made of {kind}, which sees the whole sequence at once; use a causal neuron, such as "
                    "sliding_psn or lif, or a rule that takes whole sequences, such as bptt"
                )
        return found

    @property
    def keywords(self) -> frozenset[str]:
        """What `forward` accepts from rules: a carry only where a sequence can be continued."""
        return frozenset({"record"} | ({"carry"} - self.lacks.keys()))

    @property
    def stack(self) -> list[Part]:
        """The layers, first to last."""
        return list(self.layers)  # type: ignore[arg-type]  # ModuleList is not generic

    def forward(self, x: Tensor, carry: Any = None, record: bool = False) -> Run:
        run = through(self.layers, admitted(x, self.shape), carry, record)
        return run._replace(traces=renamed("layers", run.traces))


def admitted(x: Any, shape: tuple[int, ...]) -> Tensor:
    """Return an input as `[T, B, *shape]`; raise TypeError or ValueError, with a remedy, for any other."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"input is a {type(x).__name__}; this network takes one tensor [T, B, ...]: join several inputs, as in "
            "torch.cat([x1, x2], -1)"
        )
    if x.ndim < 3 or math.prod(x.shape[2:]) != math.prod(shape):
        raise ValueError(
            f"input has shape {tuple(x.shape)}; this network wants [T, B, {', '.join(map(str, shape))}], time "
            "first: encode a static batch with sandbox.tasks.encode, turn batch-first data with x.transpose(0, 1)"
        )
    if not x.is_floating_point():
        raise TypeError(f"input has dtype {x.dtype}; this network wants floating point: x.float()")
    return x.reshape(*x.shape[:2], *shape)


def through(
    parts: Iterable[nn.Module], x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None
) -> Run:
    """Run parts one after the other from a carry, which has one entry for each.

    The name of a trace includes the place of its part. Neurons that are a part of their own record a trace without a
    name, and follow the weight before them (`rules.traces.gathered`).
    """
    stack = [cast("Part", part) for part in parts]
    ends: list[Any] = []
    traces: list[Trace] = []
    heard = {} if lengths is None else {"lengths": lengths}
    for number, (part, start) in enumerate(zip(stack, carry or [None] * len(stack), strict=True)):
        run = part.run(x, start, record, **heard)
        x = run.output
        ends.append(run.carry)
        traces = gathered(traces, run.traces, str(number))
    return Run(x, tuple(ends), tuple(traces))


def renamed(prefix: str, traces: tuple[Trace, ...]) -> tuple[Trace, ...]:
    """Return the traces with a prefix before their names; a trace without a name stays without."""
    return tuple(trace._replace(weight=f"{prefix}.{trace.weight}" if trace.weight else "") for trace in traces)
