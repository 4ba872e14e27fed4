"""Small graphs, each of one node between an input and an output or of a chain, and networks to write."""

from __future__ import annotations

import nir
import numpy as np
import torch
from torch import nn

from sandbox import LIF, CubaLI, CubaLIF, Integrator, build, learnable
from sandbox.networks.delays import Delayed
from sandbox.networks.network import Layer, Network
from sandbox.networks.parts import Neurons, Stack, Stateless
from sandbox.networks.population import Population
from sandbox.neurons import IF, PLIF, EulerCubaLIF, MultiIF, MultiLIF
from sandbox.nir.parts import Scale, SumPool2d, Threshold

DT = 0.5  # ms


def full(value, cells=3):
    return np.full(cells, value)


def chained(*nodes, shape=None):
    """A graph of nodes one after the other."""
    first = nodes[0].input_type["input"] if shape is None else shape
    named = {"input": nir.Input({"input": np.array(first)})} | {f"n{i}": node for i, node in enumerate(nodes)}
    named["output"] = nir.Output({"output": None})
    names = list(named)
    return nir.NIRGraph(named, list(zip(names, names[1:])), type_check=False)


SEVERAL = {  # a graph of one neuron of each type, whose parameters differ from cell to cell
    "LIF": nir.LIF(np.array([0.01, 0.02, 0.004]), full(2.0), full(0.1), np.array([0.5, 1.0, 0.8]), full(-0.2)),
    "IF": nir.IF(np.array([300.0, 200.0, 90.0]), full(1.0), full(0.1)),
    "LI": nir.LI(np.array([0.01, 0.02, 0.004]), full(2.0), full(0.1)),
    "I": nir.I(np.array([300.0, 200.0, 90.0])),
    "CubaLIF": nir.CubaLIF(
        full(0.003),
        np.array([0.01, 0.003, 0.004]),
        full(2.0),
        full(0.1),
        full(0.6),
        full(-0.2),
        np.array([1.5, 1.0, 2.0]),
    ),
    "CubaLI": nir.CubaLI(full(0.003), np.array([0.01, 0.003, 0.004]), full(2.0), full(0.1), np.array([1.5, 1.0, 2.0])),
}


def pair(neuron, **more):
    return build((4,), 3, (6,), neuron=neuron, dt=DT, seed=3, **more)


def images():
    rng = torch.Generator().manual_seed(0)
    net = build((2, 8, 8), 3, ("4c3p2", "4x3", "6x3p2", 10), neuron=LIF(), dt=DT, seed=1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=rng))
    return net


def delayed_images():
    net = build((2, 6, 6), 3, ("4c3p2d3", "4x3d2", "10d4"), neuron=LIF(), dt=DT, seed=1)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("bias"):
                p.add_(1.5)
    return net


def stack():
    """Parts that only a Stack has: neurons without weights, thresholds, factors, sums, delays, a last weight."""
    cells = lambda neuron: Neurons(Population(neuron, DT))  # noqa: E731
    return Stack(
        [
            Stateless(nn.Sequential(SumPool2d((2, 2), (2, 2), (0, 0)), nn.Conv2d(2, 3, 3, bias=False), nn.Flatten())),
            cells(CubaLIF(strict=True)),
            Delayed(torch.arange(12) % 4),
            Stateless(nn.Sequential(Scale(torch.linspace(0.5, 2.0, 12)), nn.Linear(12, 5))),
            Stateless(Threshold(torch.linspace(-0.5, 0.5, 5))),
            cells(Integrator(r=0.1)),
            Stateless(nn.Linear(5, 3, bias=False)),
        ],
        (2, 8, 8),
    )


def sequence_of_channels():
    first = Layer(nn.Conv1d(2, 4, 3, stride=2, padding=1), Population(LIF(r=4.0), DT))
    last = Layer(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), Population(CubaLI(), DT))
    return Network([first, last], (2, 8))


NETWORKS = {
    "dense": lambda: pair(LIF()),
    "recurrent": lambda: build((4,), 3, ("6r", "5r"), dt=DT),
    "sparse": lambda: build((40,), 3, ("30s20",), dt=DT),
    "strict": lambda: pair(LIF(strict=True, v_leak=-65.0, v_threshold=-50.1, v_reset=-64.3)),
    "subtract, refractory": lambda: pair(LIF(reset="subtract", t_refractory=2.0)),
    "current-based": lambda: pair(CubaLIF(tau_mem=7.3, tau_syn=7.3), readout=CubaLI(tau_mem=3.3)),
    "without a leak": lambda: pair(IF(tau_mem=3.0, v_leak=0.1), readout=Integrator(tau_mem=3.0)),
    "Euler": lambda: pair(EulerCubaLIF(order="synapse_first")),
    "several spikes": lambda: pair(MultiLIF(v_threshold=0.2), readout=MultiIF(r=0.3)),
    "learned": lambda: pair(PLIF(), readout=LIF(tau_mem=learnable(7.3))),
    "float64": lambda: pair(LIF(tau_mem=1 / 3)).double(),
    "of each cell": lambda: pair(LIF(tau_mem=torch.linspace(1, 9, 6)), readout=LIF(v_reset=-torch.rand(3))),
    "images": images,
    "stack": stack,
    "Conv1d": sequence_of_channels,
    "learned delays": lambda: build((4,), 3, ("6d5", "5rd2"), dt=DT),
    "learned delays of channels": delayed_images,
}
