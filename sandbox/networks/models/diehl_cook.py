"""The network of Diehl and Cook: cells that compete by inhibition, with thresholds that adapt, for learning by STDP."""

from __future__ import annotations

import math

import torch
from torch import nn

from rules.seeds import seeded
from sandbox.networks.network import Layer, Network
from sandbox.networks.population import Population
from sandbox.neurons import LIF, learnable
from sandbox.synapses import EventLinear

LEAST, MOST = 0.0, 0.3  # of initial weights, before they are scaled


def diehl_cook(
    shape: tuple[int, ...] = (1, 28, 28),
    classes: int = 10,
    cells: int = 100,
    *,
    inhibition: float = 120.0,
    drive: float = 0.1,
    tau_mem: float = 100.0,
    t_refractory: float = 5.0,
    dt: float = 1.0,
    seed: int = 0,
) -> Network:
    """Build one layer of excitatory cells, each of which inhibits all others, without a read-out.

    A spike at an input lifts the membrane of a cell by the weight, in mV; a spike of a cell lowers those of all others
    by `inhibition`, one step later. Threshold, reset and rest are 13, 5 and 0 mV; each threshold is learned. All
    weights are at least 0; those of a cell add up to `drive` for each input, and a run does not scale them to a firing
    rate. The weights of inhibition are fixed.

    The output is that of the cells, `[T, B, cells]`, and which of them stands for which class is found after learning:
    rules.make("stdp", objective="assignment", plasticity="normalised").

    Args:
        shape: of a sample; 28 by 28 pixels by default.
        classes: not used: classes are found afterwards.
        cells: number of cells, 100 by default.
        inhibition: what a spike takes from all other cells [mV], 120 by default.
        drive: mean initial weight [mV], 0.1 by default, as in sums of 78.4 for 784 inputs.
        tau_mem: membrane time constant [ms], 100 by default.
        t_refractory: refractory period [ms], 5 by default.
        dt: time step [ms], 1 by default.
        seed: of the initial weights.

    Raises:
        ValueError: for a single cell, which nothing competes with, and for numbers out of range.

    >>> net = diehl_cook(cells=20)
    >>> [name for name, p in net.named_parameters() if p.requires_grad]
    ['layers.0.synapse.1.weight', 'layers.0.cells.learned.raw.v_threshold']
    >>> net(torch.zeros(5, 2, 1, 28, 28)).output.shape
    torch.Size([5, 2, 20])

    Reference: Diehl & Cook 2015 (doi 10.3389/fncom.2015.00099). Inhibition without cells of its own, currents in place
    of conductances and the numbers above follow simplified versions of it (recalled).
    """
    if cells < 2:
        raise ValueError(f"cells={cells}: give at least 2, which compete")
    for name, value in {"inhibition": inhibition, "drive": drive}.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value}: give a number of mV above 0")
    inputs = math.prod(shape)
    synapse = EventLinear(inputs, cells, bias=False)
    lateral = EventLinear(cells, cells, bias=False)
    with torch.no_grad():
        synapse.weight.uniform_(LEAST, MOST, generator=seeded(seed, "weights"))
        synapse.weight.mul_(drive * inputs / synapse.weight.sum(1, keepdim=True))
        lateral.weight.copy_(-inhibition * (1 - torch.eye(cells)))
    lateral.requires_grad_(False)
    neuron = LIF(
        tau_mem=tau_mem,
        r=1 / -math.expm1(-dt / tau_mem),  # so that 1 nA in one step is 1 mV
        v_threshold=learnable(13.0, (cells,)),
        v_reset=5.0,
        t_refractory=t_refractory,
    )
    parts: list[nn.Module] = [nn.Flatten()] * (len(shape) > 1) + [synapse]
    layer = Layer(nn.Sequential(*parts) if len(parts) > 1 else synapse, Population(neuron, dt, lateral))
    network = Network([layer], shape)
    network.classless = network.meant = True
    return network
