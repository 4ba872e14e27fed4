"""Networks of spiking cells in float64, and batches of spikes."""

from __future__ import annotations

import torch

from rules.contract import Batch
from sandbox import build
from sandbox.neurons import LIF, LeakyIntegrator
from tests.rules.credit.spike_timing.trains import poisson

STEPS, SAMPLES = 60, 3


def net(hidden=("5r", 4), neuron=None, shape=(4,), readout=None, seed=1, scale=6.0):
    """A network whose cells fire a few times in a batch."""
    model = build(shape, 3, hidden, neuron or LIF(tau_mem=5.0), readout or LeakyIntegrator(tau_mem=8.0), seed=seed)
    with torch.no_grad():
        for layer in model.layers[:-1]:
            for p in layer.synapse.parameters():
                p.abs_().mul_(scale)
    return model.double()


def spikes(steps=STEPS, samples=SAMPLES, shape=(4,), chance=0.3, seed=0):
    """A batch of Poisson spikes without labels."""
    count = samples * int(torch.tensor(shape).prod())
    return Batch(poisson(steps, count, chance, seed).reshape(steps, samples, *shape))


def credit(rule, model, given, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return rule.assign(model, None, given, rule.init(model, torch.Generator().manual_seed(seed)), rng)
