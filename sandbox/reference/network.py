"""Run a whole network in Brian2: same layers, same weights, same order of events within a step."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rules.forward import fold
from sandbox.networks.network import Layer, Network
from sandbox.neurons.stepping import rest
from sandbox.reference.brian import plain_numpy, with_equations
from sandbox.reference.circuit import Dense, circuit
from sandbox.reference.need import brian2
from sandbox.reference.network_report import NetworkReport, report
from sandbox.synapses import EventLinear

LINEAR = (nn.Linear, EventLinear)  # exact types only: a user-defined subclass may compute something else


class Brian2Run(NamedTuple):
    """Result of a run in Brian2; `output` is that of the last layer, as in `rules.Run`."""

    output: Tensor  # [T, B, classes]
    layers: tuple[Tensor, ...]  # [T, B, unit] for each layer: spikes, or the voltage [mV] of cells that never fire
    objects: Any  # the brian2.Network after the run


@dataclass(frozen=True)
class Brian2Network:
    """A network for Brian2, as `to_brian2` returns it.

    All samples of an input run side by side, as copies of the network. A time step goes through the layers in order.
    Each layer has its own scheduling slots: the state update under a constant current; the threshold; the synapses,
    which carry spikes to the next layer within the step and to the layer itself for the next step; and the reset. The
    input and the output of cells that never fire are analog and reach the next layer through a `(summed)` variable.
    """

    layers: tuple[Dense, ...]
    network: Network  # the original, in float64
    dt: float  # [ms]

    def objects(self, x: Tensor) -> Any:
        """Build the `brian2.Network` for an input `[T, B, *shape]`, ready to run.

        Its objects have names: "input", and for layer number n "cells_n", "weights_n", "recurrent_n" and, for the
        monitor, "outputs_n".

        Raises:
            ValueError: for an input of another shape.
        """
        wanted = self.network.shape
        if x.ndim < 3 or math.prod(x.shape[2:]) != math.prod(wanted):
            raise ValueError(
                f"input has shape {tuple(x.shape)}; wanted [T, B, {', '.join(map(str, wanted))}], time first"
            )
        return circuit(self.layers, x.detach().to(torch.float64).flatten(2).numpy(), self.dt)

    def run(self, x: Tensor) -> Brian2Run:
        """Run an input `[T, B, *shape]` from rest, in float64, with NumPy code and no compiler."""
        steps, samples = x.shape[:2]
        with plain_numpy():
            objects = self.objects(x)
            objects.run(steps * self.dt * brian2().ms, namespace={})
        monitors = [objects[f"outputs_{number}"] for number in range(len(self.layers))]
        outputs = [_recorded(monitor, steps, samples, self.dt) for monitor in monitors]
        return Brian2Run(outputs[-1], tuple(outputs), objects)

    def compare(self, x: Tensor, network: Network | None = None, tolerance: float = 1e-9) -> NetworkReport:
        """Run an input in Brian2 and in torch, and report where they first differ.

        Args:
            x: the input `[T, B, *shape]`.
            network: the network to compare with Brian2; by default the one that this was made from.
            tolerance: for the voltages of cells that never fire [mV], 1e-9 by default; rounding differs by about 1e-16
                of a value per step.

        Returns: A report that prints as a table; `passed` is True if all spikes agree.
        """
        ours = copy.deepcopy(network or self.network).double()
        with torch.no_grad():
            here = responses(ours, x.double())
        names, spiking = zip(*((layer.name, layer.neuron.spiking) for layer in self.layers), strict=True)
        return report(names, spiking, self.run(x).layers, here, tolerance)


def to_brian2(network: Network) -> Brian2Network:
    """Convert a spiking network to Brian2, with its present weights.

    Brian2 receives the random numbers of stochastic neurons as they are drawn here from the neuron's seed.

    Args:
        network: dense layers, recurrent or not, of any neuron.

    Raises:
        ValueError: for any other part, which the message names, and for layers that differ in dt.

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
    ours = copy.deepcopy(network).double().requires_grad_(False)
    layers = tuple(_dense(f"layers.{number}", part) for number, part in enumerate(ours.layers))
    dts = [part.cells.dt for part in ours.stack if isinstance(part, Layer)]
    if len(set(dts)) > 1:
        raise ValueError(f"the layers have dt={dts} ms; Brian2 runs them on one clock: build them with the same dt")
    return Brian2Network(layers, ours, dts[0])


def responses(network: Network, x: Tensor) -> tuple[Tensor, ...]:
    """Return the output of every part of a network, `[T, B, unit]` each; noisy neurons draw from their own seed."""
    outputs: list[Tensor] = []
    x = x.reshape(*x.shape[:2], *network.shape)
    for part in network.stack:
        start = None
        if isinstance(part, Layer):
            currents = fold(part.synapse, x)
            _, heard = part.cells.rest(currents)
            start = rest(part.cells.present(), currents), heard
        x = part.run(x, start).output
        outputs.append(x)
    return tuple(outputs)


def _dense(name: str, part: nn.Module) -> Dense:
    if not isinstance(part, Layer):
        raise ValueError(
            f"{name} is a {type(part).__name__}: only dense layers can be converted, 30 or '30r' of sandbox.build"
        )
    synapse = part.synapse
    if isinstance(synapse, nn.Sequential) and [type(m) for m in list(synapse)[:-1]] == [nn.Flatten]:
        synapse = synapse[-1] if type(synapse[-1]) in LINEAR else synapse
    if not (isinstance(synapse, nn.Linear) and type(synapse) in LINEAR):
        raise ValueError(
            f"{name} weighs its input by {_kinds(synapse)}: only nn.Linear, or nn.Flatten and "
            "nn.Linear, can be converted; write a convolution as the nn.Linear that does the same"
        )
    cells = part.cells
    neuron = with_equations(cells.present())
    bias = torch.zeros(synapse.out_features, dtype=torch.float64)
    for linear in (synapse, cells.recurrent):
        if linear is not None and linear.bias is not None:
            bias = bias + linear.bias
    recurrent = None if cells.recurrent is None else cells.recurrent.weight.numpy()
    return Dense(name, neuron, synapse.weight.numpy(), bias.numpy(), recurrent)


def _recorded(monitor: Any, steps: int, samples: int, dt: float) -> Tensor:
    """Return the recording of a monitor, `[T, B, unit]`."""
    b2 = brian2()
    if isinstance(monitor, b2.StateMonitor):
        (name,) = monitor.record_variables
        seen = np.asarray(getattr(monitor, name)).T.copy()
    else:
        seen = np.zeros((steps, len(monitor.source)))
        seen[np.rint(np.asarray(monitor.t / b2.ms) / dt).astype(int), np.asarray(monitor.i)] = 1.0
    return torch.from_numpy(seen).reshape(steps, samples, -1)


def _kinds(module: nn.Module) -> str:
    return " and ".join(type(m).__name__ for m in (module if isinstance(module, nn.Sequential) else [module]))
