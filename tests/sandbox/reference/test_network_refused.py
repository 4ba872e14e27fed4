"""Networks that Brian2 is not given: each is refused with the name of the part and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sandbox import LIF, Network, Population, build
from sandbox.networks.delays import Delayed
from sandbox.networks.network import Layer
from sandbox.networks.parts import Joined, Neurons, Stack, Stateless
from sandbox.neurons import PSN
from sandbox.reference import from_brian2, to_brian2
from tests.sandbox.reference.test_network_kinds import Halved, layered


class Doubled(nn.Linear):
    """An nn.Linear by name alone."""

    def forward(self, x):
        return super().forward(x) ** 2


class Deeper(Halved):
    """Inherits the word, and not the truth."""

    def forward(self, x):
        return x**2


def hooked():
    linear = nn.Linear(6, 10)
    linear.register_forward_hook(lambda module, inputs, output: output**2)
    return linear


def two_inputs():
    return from_brian2(
        "dv/dt = (-v + 10*Mohm*(a + b)) / (10*ms) : volt", "v > 15*mV", "v = 0*mV", method="exact", inputs=("a", "b")
    )


REFUSED = {
    "subclass": (lambda: layered(Doubled(6, 10), shape=(6,)), r"layers\.0 has a Doubled .* not known to be W x \+ b"),
    "inherited word": (lambda: layered(nn.Sequential(Deeper(), nn.Linear(6, 10)), shape=(6,)), r"layers\.0 has a Deeper"),
    "activation": (lambda: layered(nn.Sequential(nn.Linear(6, 9), nn.ReLU()), shape=(6,)), r"has a ReLU .* `linear = True`"),
    "hook": (lambda: layered(hooked(), shape=(6,)), r"has a Linear with hooks.* remove them"),
    "norm in training": (lambda: build((6,), 3, ("8b",)), r"layers\.0 has a BatchNorm1d in training mode.*network\.eval\(\)"),
    "dropout in training": (
        lambda: layered(nn.Sequential(nn.Dropout(), nn.Linear(6, 9)), shape=(6,)).train(), r"Dropout in training mode"
    ),
    "norm without statistics": (
        lambda: layered(nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3, track_running_stats=False)), shape=(2, 5)),
        r"BatchNorm1d without running statistics.*track_running_stats=True",
    ),
    "delays in training": (lambda: build((6,), 3, ("8d4",)), r"layers\.0 has learned delays in training mode.*eval\(\)"),
    "maximum of currents": (
        lambda: layered(nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2))), r"MaxPool2d behind a Conv2d.* in front of the weights"
    ),
    "indices": (
        lambda: Network([Layer(nn.MaxPool2d(2, return_indices=True), Population(LIF(), 1.0))], (1, 4, 4)),
        "MaxPool2d that returns indices too: return_indices=False",
    ),
    "delay behind weights": (
        lambda: Stack([Stateless(nn.Linear(6, 4)), Delayed(torch.tensor(2)), Neurons(Population(LIF(), 1.0))], (6,)),
        r"layers\.1 delays what weights or pools have made.*in front",
    ),
    "branches": (
        lambda: Stack([Joined([Neurons(Population(LIF(), 1.0))], [], torch.add)], (6,)), r"layers\.0 is a Joined, which cannot"
    ),
    "end without cells": (lambda: Stack([Neurons(Population(LIF(), 1.0)), Stateless(nn.Linear(6, 3))], (6,)), "does not end with cells"),
    "parallel neurons": (lambda: build((6,), 3, (8,), PSN(steps=5)), "PSN has no equations for Brian2"),
    "one synapse for two inputs": (
        lambda: Network([Layer(nn.Linear(6, 8), Population(two_inputs(), 1.0))], (6,)),
        "has a Linear in front of cells with the inputs a, b: give each a synapse of its own",
    ),
    "another model": (lambda: nn.Linear(2, 2), "the network is a Linear; wanted one of sandbox.build"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_named_with_a_remedy(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        to_brian2(make())


def test_an_input_of_numbers_has_no_maximum_in_brian2():
    network = layered(nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 4, 3)))
    with pytest.raises(ValueError, match=r"layers\.0 has a max pool in front, and the input is not made of zeros"):
        to_brian2(network).run(0.5 * torch.ones(3, 1, 2, 8, 8))
