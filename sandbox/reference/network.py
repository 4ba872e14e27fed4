"""Run a whole network in Brian2: same layers, same weights, same order of events within a step."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rules.optional import recorder_of
from sandbox.networks.network import Network
from sandbox.networks.parts import Stack
from sandbox.networks.population import Population
from sandbox.neurons.stepping import rest
from sandbox.reference.brian import plain_numpy
from sandbox.reference.circuit import circuit
from sandbox.reference.need import brian2
from sandbox.reference.network_report import NetworkReport, report
from sandbox.reference.populations import INPUT, Cells, populations


class Brian2Run(NamedTuple):
    """Result of a run in Brian2; `output` is that of the last layer, as in `rules.Run`."""

    output: Tensor  # [T, B, classes]
    layers: tuple[Tensor, ...]  # [T, B, unit] for each layer: spikes, or the voltage [mV] of cells that never fire
    objects: Any  # the brian2.Network after the run


@dataclass(frozen=True)
class Brian2Network:
    """A network for Brian2, as `to_brian2` returns it.

    All samples of an input run side by side, as copies of the network. A time step goes through the populations in
    order. Each has its own scheduling slots: the state update under a constant current; the threshold; the synapses,
    which carry spikes to the next population within the step and to the population itself for the next step; and the
    reset. The input and the output of cells that never fire are analog and reach the next population through a
    `(summed)` variable.

    Modules between two populations are one matrix of synapses, found from the images of unit vectors: convolutions,
    average pools and batch normalisation in evaluation have their weights folded into it. A block's shortcut has
    synapses of its own to the last population of the block. A delay of spikes is that of its synapses; an analog signal
    comes late through a chain of variables, a delay line. A max pool is a group of cells of its own, each of which
    fires in the step in which any input of its window does: of zeros and ones that is the maximum.
    """

    layers: tuple[Cells, ...]
    network: Network | Stack  # the original, in float64
    dt: float  # [ms]

    def objects(self, x: Tensor) -> Any:
        """Build the `brian2.Network` for an input `[T, B, *shape]`, ready to run.

        Its objects have names: "input", and for population number n "cells_n", "weights_n", "shortcut_n" of a block,
        "recurrent_n" and, for the monitor, "outputs_n"; for a max pool "pool_weights_n" and "windows_weights_n", for
        delays of an analog signal "line_weights_n".

        Raises:
            ValueError: for an input of another shape, or one with other numbers than 0 and 1 in front of a max pool.
        """
        self._admit(x)
        return circuit(self.layers, x.detach().to(torch.float64).flatten(2).numpy(), self.dt)

    def _admit(self, x: Any) -> None:
        """Raise ValueError for an input that Brian2 cannot be given."""
        wanted = self.network.shape
        if not isinstance(x, Tensor):
            raise ValueError(f"input is a {type(x).__name__}; wanted a tensor [T, B, ...]: torch.as_tensor(x)")
        if x.ndim < 3 or math.prod(x.shape[2:]) != math.prod(wanted):
            raise ValueError(
                f"input has shape {tuple(x.shape)}; wanted [T, B, {', '.join(map(str, wanted))}], time first"
            )
        for layer in self.layers:
            texts = (layer.neuron.equations, layer.neuron.threshold, layer.neuron.reset_code)
            placed = re.search(r"\b(i|N)\b", "\n".join(map(str, texts)))
            if placed and x.shape[1] > 1:
                raise ValueError(
                    f"{layer.name} reads {placed[0]!r}, and Brian2 numbers the cells of all {x.shape[1]} samples "
                    "through: run one sample, x[:, :1]"
                )
            pooled = any(each.pool is not None and each.source == INPUT for each in layer.afferents)
            if pooled and not bool(((x == 0) | (x == 1)).all()):
                raise ValueError(
                    f"{layer.name} has a max pool in front, and the input is not made of zeros and ones, of which "
                    "alone Brian2 gets the maximum: encode it as spikes, or use an average pool"
                )

    def run(self, x: Tensor) -> Brian2Run:
        """Run an input `[T, B, *shape]` from rest, in float64, with NumPy code and no compiler."""
        steps, samples = x.shape[:2]
        with plain_numpy():
            objects = self.objects(x)
            objects.run(steps * self.dt * brian2().ms, namespace={})
        monitors = [objects[f"outputs_{number}"] for number in range(len(self.layers))]
        outputs = [_recorded(monitor, steps, samples, self.dt) for monitor in monitors]
        return Brian2Run(outputs[-1], tuple(outputs), objects)

    def compare(self, x: Tensor, network: Network | Stack | None = None, tolerance: float = 1e-9) -> NetworkReport:
        """Run an input in Brian2 and in torch, and report where they first differ.

        Args:
            x: the input `[T, B, *shape]`.
            network: the network to compare with Brian2; by default the one that this was made from.
            tolerance: for the voltages of cells that never fire [mV], 1e-9 by default; rounding differs by about 1e-16
                of a value per step.

        Returns: A report that prints as a table; `passed` is True if all spikes agree.

        Raises:
            ValueError: as `objects`.
        """
        self._admit(x)
        ours = copy.deepcopy(network or self.network).double()
        with torch.no_grad():
            here = responses(ours, x.double())
        names, spiking = zip(*((layer.name, layer.neuron.spiking) for layer in self.layers), strict=True)
        return report(names, spiking, self.run(x).layers, here, tolerance)


def to_brian2(network: Network | Stack) -> Brian2Network:
    """Convert a spiking network to Brian2, with its present weights.

    Brian2 receives the random numbers of stochastic neurons as they are drawn here from the neuron's seed.

    Args:
        network: whatever `sandbox.build` makes, of neurons with equations: dense, sparse, recurrent and convolutional
            layers, pools, residual blocks, learned delays and batch normalisation in evaluation (`eval()`); and what
            `sandbox.from_nir` makes of such parts, if it ends with cells.

    Raises:
        ValueError: for any other part, module or neuron, which the message names; for layers that differ in dt; and for
            normalisation, dropout and delays between steps in training mode.

    >>> from sandbox import LIF, LeakyIntegrator, build
    >>> net = build(shape=(4,), classes=3, hidden=(10, "5r"), neuron=LIF(tau_mem=5.0), readout=LeakyIntegrator())
    >>> x = torch.rand(10, 2, 4, generator=torch.Generator().manual_seed(0))
    >>> print(to_brian2(net).compare(x))  # doctest: +ELLIPSIS
    network in Brian2, 2 samples, 10 steps, float64
      layers.0     ... spikes, 0 differ
      layers.1     ... spikes, 0 differ
      layers.2     largest difference ... mV (tolerance 1e-09)
      2 of 2 predictions equal
      agrees with Brian2

    Reference: Stimberg, Brette & Goodman 2019 (doi 10.7554/eLife.47314).
    """
    if not isinstance(network, (Network, Stack)):
        raise ValueError(f"the network is a {type(network).__name__}; wanted one of sandbox.build or sandbox.from_nir")
    ours = copy.deepcopy(network).double().requires_grad_(False)
    layers = tuple(populations(ours))
    dts = [layer.dt for layer in layers]
    if len(set(dts)) > 1:
        raise ValueError(f"the layers have dt={dts} ms; Brian2 runs them on one clock: build them with the same dt")
    return Brian2Network(layers, ours, dts[0])


def responses(network: Network | Stack, x: Tensor) -> tuple[Tensor, ...]:
    """Return the output of every population `[T, B, unit]`, in order; noisy neurons draw from their own seed."""
    outputs: list[Tensor] = []
    x = x.reshape(*x.shape[:2], *network.shape)

    def at_rest(cells: Population, given: tuple[Any, ...]) -> tuple[Any, ...]:
        currents, carry, *more = (*given, None)[: max(len(given), 2)]
        heard = cells.rest(currents)[1] if carry is None else carry[1]
        return currents, (rest(cells.present(), currents), heard), *more

    def note(cells: Population, given: Any, found: Any) -> None:
        outputs.append(found[0].flatten(2))

    inside = [module for module in network.modules() if isinstance(module, Population)]
    hooks = [module.register_forward_pre_hook(at_rest) for module in inside]
    hooks += [module.register_forward_hook(note) for module in inside]
    try:
        for part in network.layers:
            before, recorder = len(outputs), recorder_of(part)
            assert recorder is not None
            x = recorder(x, None, False).output
            if len(outputs) > before:
                outputs[-1] = x.flatten(2)  # what leaves the part
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(outputs)


def _recorded(monitor: Any, steps: int, samples: int, dt: float) -> Tensor:
    """Return the recording of a monitor, `[T, B, unit]`."""
    b2 = brian2()
    if isinstance(monitor, b2.StateMonitor):
        (name,) = monitor.record_variables
        seen = monitor.variables[name].get_value().copy()
    else:
        seen = np.zeros((steps, len(monitor.source)))
        seen[np.rint(np.asarray(monitor.t / b2.ms) / dt).astype(int), np.asarray(monitor.i)] = 1.0
    return torch.from_numpy(seen).reshape(steps, samples, -1)
