"""What is put under the microscope in these tests: trainers with small models, each random in a way of its own."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

import rules
from rules import Trainer
from rules.check import toy
from rules.credit.bptt import BPTT
from rules.credit.dropout import Dropout
from rules.objectives.output_error import BitError
from rules.recipes import LearningRule
from sandbox import NoisyReadout, build
from sandbox.neurons import NEURONS


def quadratic(credit, plasticity=torch.optim.SGD):
    """A rule that descends the toy loss, which is smooth everywhere."""
    return LearningRule(toy.Quadratic(), credit, plasticity)


def square(seed=0):
    """Two layers of one shape, smooth, in float64."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    toy.fill(net, seed)
    return net.double()


def batch(seed=0, samples=8, steps=5, features=4, classes=3):
    rng = torch.Generator().manual_seed(seed)
    x = 3 * torch.rand(steps, samples, features, generator=rng)
    return rules.Batch(x, torch.randint(classes, (samples,), generator=rng))


def escape(seed=0):
    """Spiking neurons that fire by chance."""
    return build((4,), 3, (6,), NEURONS["escape_lif"](), seed=seed)


def layers_of_torch():
    """Dropout by the global generator, and statistics that every forward pass changes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))


def flat(number):
    """A batch without time."""
    x, y, *_ = batch(number)
    return rules.Batch(x[0], y)


def on_noisy_device():
    """Weights that are noisy to write and to read."""
    options = {"read_noise": 0.05, "cell_noise": 0.02}
    rule = rules.make("bptt_on_memristor", lr=0.3, device_options=options)
    return Trainer(build((4,), 3, (6,), seed=0), rule, seed=3)


TRAINERS = {  # a trainer, and batch number n
    "spsa": (lambda: Trainer(build((4,), 3, (6,), seed=0), "spsa", seed=3), batch),
    "node_perturbation": (lambda: Trainer(build((4,), 3, (6,), seed=0), "node_perturbation", seed=3), batch),
    "binary_stochastic": (
        lambda: Trainer(build((4,), 3, (6,), *[NEURONS["stochastic_binary"]()] * 2), "binary_stochastic", seed=3),
        lambda number: batch(number)._replace(x=batch(number).x / 3),
    ),
    "memristor": (on_noisy_device, batch),
    "escape noise": (lambda: Trainer(escape(), "bptt", seed=3), batch),
    "signals dropped": (
        lambda: Trainer(build((4,), 3, (6,), seed=0), replace(rules.make("bptt"), credit=Dropout(BPTT(), 0.5)), seed=3),
        batch,
    ),
    "dropout and batch norm": (lambda: Trainer(layers_of_torch(), "bptt", seed=3), flat),
    "noisy readout": (lambda: Trainer(NoisyReadout(build((4,), 3, (6,), seed=0), 0.1), "spsa", seed=3), batch),
    "views and a projection head": (lambda: Trainer(build((4,), 3, (6,), seed=0), "stcl", seed=3), batch),
    "bits": (
        lambda: Trainer(
            toy.smooth(frozenset({"gradient", "layers", "bits"})),
            replace(rules.make("binary_stochastic"), objective=BitError()),
            seed=3,
        ),
        toy.batch,
    ),
}
