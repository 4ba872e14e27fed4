"""Coordinate-wise differences from the one unit that a weight changes, against whole passes one after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from rules.contract import Run
from rules.credit.zero_order import CoordinateWise
from rules.objectives.readout import MeanCrossEntropy
from sandbox import LIF, LeakyIntegrator, build
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, drawn, inputs, mlp

T, B = 6, 7
CE = MeanCrossEntropy()
LARGE = CoordinateWise(step=0.1)  # rounding of a loss is divided by twice the step, so that 1e-12 can be asked for
SEEN, Y = 4 * inputs(T, B, 5).abs(), torch.arange(B) % 3


def spiking(*hidden):
    return build((5,), 3, hidden, LIF(tau_mem=5.0), LeakyIntegrator(), seed=1).double()


class Inhibited(nn.Module):
    """Cells that hear the mean of all."""

    def __init__(self, size):
        super().__init__()
        self.synapse, self.cells = nn.Linear(size, 4), nn.Identity()

    def forward(self, x):
        return self.respond(x, self.synapse(x), None, False).output

    def respond(self, x, currents, carry, record):
        return Run(torch.tanh(currents - 0.5 * currents.mean(-1, keepdim=True)))


class Centred(nn.Module):
    """Samples that hear the mean of all."""

    def forward(self, x):
        return x - 0.5 * x.mean(-2, keepdim=True)


class Square(nn.Linear):
    """More than a product."""

    def forward(self, x):
        return super().forward(x) ** 2


def tied():
    one, other = nn.Linear(5, 5), nn.Linear(5, 5)
    other.weight = one.weight
    return drawn(nn.Sequential(one, nn.Tanh(), other, nn.Tanh(), nn.Linear(5, 3)))


CHAINS = {
    "one spiking layer": (lambda: spiking(8), SEEN),
    "two": (lambda: spiking(8, 6), SEEN),
    "layers": (lambda: mlp([5, 6, 4, 3]), inputs(B, 5)),
    "over time": (lambda: mlp([5, 6, 3]), inputs(T, B, 5)),
    "a single layer": (lambda: mlp([5, 3]), inputs(B, 5)),
}
PARTLY = {
    "recurrent": (lambda: spiking("8r", 6), SEEN),
    "inhibited": (lambda: drawn(nn.Sequential(Inhibited(5), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))), SEEN),
    "tied": (tied, inputs(B, 5)),
    "normed": (
        lambda: drawn(nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))),
        inputs(B, 5),
    ),
}
NOT = {
    "centred": (lambda: drawn(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), Centred())), inputs(B, 5)),
    "square": (lambda: drawn(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), Square(4, 3))), inputs(B, 5)),
}
MODELS = {**CHAINS, **PARTLY, **NOT}


def both(rule, name, objective=CE):
    make, x = MODELS[name]
    return [assign(replace(rule, together=way), make(), x, Y, objective) for way in (True, False)]


def agree(ours, plain):
    assert ours.grads.keys() == plain.grads.keys()
    for name, g in plain.grads.items():
        assert float((ours.grads[name] - g).norm()) <= 1e-12 * (1 + float(g.norm())), name
    counts = vars(ours.cost).items() ^ vars(plain.cost).items()
    assert {name for name, _ in counts} <= {"layer_evaluations_done"}


@pytest.mark.parametrize(
    "rule",
    [LARGE, replace(LARGE, diff="forward"), replace(LARGE, sparsity=0.7), replace(LARGE, memory=60000.0)],
    ids=["central", "forward", "some", "in parts"],
)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_costs_are_those_of_whole_passes(name, rule):
    ours, plain = both(rule, name)
    assert any(float(g.norm()) > 0 for g in plain.grads.values())
    agree(ours, plain)


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_takes_few_evaluations(name):
    ours, plain = both(LARGE, name)
    assert ours.cost.layer_evaluations == plain.cost.layer_evaluations == plain.cost.layer_evaluations_done
    assert ours.cost.layer_evaluations_done < plain.cost.layer_evaluations_done / 2


def test_all_layers_of_a_spiking_network_learn():
    ours, _ = both(LARGE, "two")
    assert all(float(g.norm()) > 0 for g in ours.grads.values())


@pytest.mark.parametrize("name", PARTLY)
def test_a_part_of_a_model_may_be_a_chain(name):
    ours, plain = both(LARGE, name)
    assert ours.cost.layer_evaluations_done < plain.cost.layer_evaluations_done


def test_an_objective_without_a_quick_loss_of_each_sample_takes_whole_passes():
    ours, plain = both(LARGE, "layers", QUADRATIC)
    agree(ours, plain)
    assert ours.cost.layer_evaluations_done == plain.cost.layer_evaluations_done


def test_hooks_are_obeyed():
    make, x = MODELS["layers"]
    found = []
    for way in (True, False):
        model = make()
        model[1].register_forward_hook(lambda module, inputs, z: z.flip(-1))
        found.append(assign(replace(LARGE, together=way), model, x, Y, CE))
    agree(*found)
