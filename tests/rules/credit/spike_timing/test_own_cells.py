"""Cells that were written elsewhere, with `rules.Surrogate` and with a spike function of their own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import rules
from rules.models.admission import UnfitModel


class Step(torch.autograd.Function):
    """Ones above zero, with a derivative of its own, as written by users of torch."""

    @staticmethod
    def forward(ctx, u):
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx, error):
        (u,) = ctx.saved_tensors
        return error / (1 + 10 * u.abs()) ** 2


class Cells(nn.Module):
    """`v <- 0.9 v + i`, a spike at 1, less 1 after it."""

    def __init__(self, spike):
        super().__init__()
        self.spike, self.recurrent = spike, None

    def rest(self, currents):
        return currents.new_zeros(currents.shape[1:]), None

    def advance(self, current, state):
        v = 0.9 * state + current
        spikes = self.spike(v - 1)
        return spikes, v - spikes.detach()

    def unpacked(self, state):
        return (state,)

    def packed(self, state, values):
        return values[0]


class Layer(nn.Module):
    def __init__(self, inputs, count, spike):
        super().__init__()
        self.synapse, self.cells = nn.Linear(inputs, count), Cells(spike)

    def respond(self, cause, currents, carry, record):
        state, _ = self.cells.rest(currents) if carry is None else carry
        outputs = []
        for current in currents:
            output, state = self.cells.advance(current, state)
            outputs.append(output)
        return rules.Run(torch.stack(outputs), (state, None), ())

    def forward(self, x):
        return self.respond(x, self.synapse(x), None, False).output


class Net(nn.Module):
    offers = frozenset({"gradient", "layers", "cells"})

    def __init__(self, spike):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([Layer(6, 5, spike), Layer(5, 3, spike)])
        with torch.no_grad():
            for p in self.parameters():
                p.abs_()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return rules.Run(x)


def spikes():
    return (torch.rand(40, 4, 6, generator=torch.Generator().manual_seed(1)) < 0.4).float()


@pytest.mark.parametrize("name", ["stdp", "triplet_stdp", "r_stdp"])
def test_rules_of_pairs_learn_from_any_spikes(name):
    nets = [Net(rules.Surrogate("atan").spike), Net(Step.apply)]
    y = torch.arange(4) % 3
    for net in nets:
        before = net.layers[0].synapse.weight.detach().clone()
        rules.Trainer(net, rules.make(name, lr=0.01), health=rules.Health(every=0)).step((spikes(), y))
        assert not torch.equal(net.layers[0].synapse.weight, before)
    for p, q in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("spike", [rules.Surrogate("atan").spike, Step.apply])
def test_eventprop_refuses_cells_whose_dynamics_it_does_not_know(spike):
    with pytest.raises(UnfitModel, match="layers.0 is made of Cells, whose threshold is not one number"):
        rules.Trainer(Net(spike), rules.make("eventprop")).step((spikes(), torch.arange(4) % 3))


class Curved(Cells):
    """A leak with a small curvature below the threshold, which single precision would hide near rest."""

    def __init__(self, spike):
        super().__init__(spike)
        self.neuron = SimpleNamespace(v_threshold=1.0)

    def advance(self, current, state):
        v = 0.9 * state + 0.02 * state**3 + current
        spikes = self.spike(v - 1)
        return spikes, v * (1 - spikes.detach())


def test_eventprop_sees_small_curvatures_in_single_precision():
    net = Net(rules.Surrogate("atan").spike)
    for layer in net.layers:
        layer.cells = Curved(layer.cells.spike)
    with pytest.raises(UnfitModel, match="not linear below their threshold"):
        rules.Trainer(net, rules.make("eventprop")).step((spikes(), torch.arange(4) % 3))


def test_escape_noise_refuses_a_spike_function_that_it_cannot_draw():
    with pytest.raises(
        UnfitModel, match="layers.0 is made of Cells, which does not fire once by a surrogate in a step"
    ):
        rules.Trainer(Net(Step.apply), rules.make("escape_noise")).step((spikes(), torch.arange(4) % 3))
