"""Models that are not what an online rule takes them for: right, or refused in words."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import rules
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.online import Online
from rules.models.admission import UnfitModel
from sandbox import from_brian2
from sandbox.networks.network import Layer, Network
from sandbox.networks.population import Population
from sandbox.neurons import LIF, NEURONS, AlphaLIF, CobaLIF, CubaLIF, LeakyIntegrator, TwoCompartment
from tests.rules.credit.online.nets import LOSS, assigned, batch, by_autograd, distance, net

EXACT = 1e-12  # float64: sums of some hundred products, each right to 1e-16


def cells(recurrent=None):
    return Population(LIF(tau_mem=5.0, reset="subtract"), 1.0, recurrent)


def stack(*layers, inner=(5,), n=5):
    """Layers and a read-out of three classes."""
    torch.manual_seed(0)
    readout = Layer(nn.Linear(n, 3), Population(LeakyIntegrator(), 1.0))
    return Network([*layers, readout], inner).double()


def given(*inner):
    x = 2 * torch.rand(12, 4, *(inner or (5,)), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(x, torch.arange(4) % 3)


class Masked(nn.Linear):
    def forward(self, x):
        return nn.functional.linear(x, self.weight * (1 - torch.eye(*self.weight.shape)).to(x))


class Skips(Network):
    def forward(self, x, carry=None, record=False):
        run = super().forward(x, carry, record)
        return run._replace(output=run.output + x[..., :3])


class Scales(Network):
    def forward(self, x, carry=None, record=False):
        return super().forward(3 * x, carry, record)


class Drops(Network):
    def forward(self, x, carry=None, record=False):
        return super().forward(nn.functional.dropout(x, 0.5, True), carry, record)


def hooked():
    linear = nn.Linear(5, 5)
    linear.register_forward_hook(lambda module, x, output: 3 * output)
    return linear


def pruned():
    linear = nn.Linear(5, 5)
    prune.random_unstructured(linear, "weight", 0.5)
    return linear


class TestRight:
    @pytest.mark.parametrize("shared", ["synapse", "layer", "weight"])
    @pytest.mark.parametrize("trace", ["influence", "synapse"])
    def test_weights_that_several_layers_share_get_the_sum(self, trace, shared):
        """Of the gradients of a network that has two copies of them."""
        first, second = nn.Linear(5, 5), nn.Linear(5, 5)
        second.weight = first.weight
        one = Layer(first, cells())
        other = {"synapse": Layer(first, cells()), "layer": one, "weight": Layer(second, cells())}[shared]
        model = stack(one, other)
        apart = stack(copy.deepcopy(one), copy.deepcopy(other))
        found, copies = (assigned(Online(trace), each, given()).grads for each in (model, apart))
        name = "layers.{}.synapse.weight"
        wanted = copies[name.format(0)] + copies[name.format(1)]
        assert float((found[name.format(0)] - wanted).norm() / wanted.norm()) < EXACT
        if shared != "weight":
            assert name.format(1) not in found

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("trace", ["influence", "synapse"])
    def test_a_bias_of_the_recurrent_weights_is_learned(self, trace, bias):
        model = stack(Layer(nn.Linear(5, 5, bias=bias), cells(nn.Linear(5, 5))))
        cut = set() if trace == "influence" else {"recurrent_spikes", "upper_membrane"}
        found = assigned(Online(trace), model, given())
        assert "layers.0.cells.recurrent.bias" in found.grads
        assert distance(found.grads, by_autograd(model, given(), cut)) < EXACT

    def test_a_silent_read_out_still_feeds_back(self):
        """As `rules.Feedback` does for weights that are all zero."""
        model = stack(Layer(nn.Linear(5, 5), cells()))
        with torch.no_grad():
            model.layers[-1].synapse.weight.zero_()
        found = assigned(Online(signal="random"), model, given())
        assert found.grads["layers.0.synapse.weight"].any()


ODD = {
    "mask": lambda: stack(Layer(Masked(5, 5), cells())),
    "masked recurrence": lambda: stack(Layer(nn.Linear(5, 5), cells(Masked(5, 5, bias=False)))),
    "hook": lambda: stack(Layer(hooked(), cells())),
}
CHAINS = {
    "skip": Skips,
    "scaled input": Scales,
    "dropout": Drops,
}


class TestRefused:
    @pytest.mark.parametrize("name", ODD)
    def test_a_layer_that_does_more_than_weigh(self, name):
        with pytest.raises(UnfitModel, match=r"layers.0 gives its cells something else than a weight times its inputs"):
            rules.Trainer(ODD[name](), "ostl").step(given())

    @pytest.mark.parametrize("width", [4, 5])
    def test_a_weight_along_one_of_several_axes(self, width):
        model = stack(Layer(nn.Linear(4, width, bias=False), cells()), inner=(4, 4), n=4 * width)
        model.layers[1].synapse = nn.Sequential(nn.Flatten(), model.layers[1].synapse)
        with pytest.raises(UnfitModel, match="a weight applied along one of several axes"):
            rules.Trainer(model, "rtrl").step(given(4, 4))

    def test_a_convolution_that_is_flattened(self):
        model = stack(Layer(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten()), cells()), inner=(1, 4, 4), n=32)
        with pytest.raises(UnfitModel, match=r"nn.Flatten\(2\) behind it"):
            rules.Trainer(model, "ostl").step(given(1, 4, 4))

    @pytest.mark.parametrize("name", CHAINS)
    def test_a_model_that_does_more_than_run_its_layers(self, name):
        made = stack(Layer(nn.Linear(5, 5), cells()))
        model = CHAINS[name]([*made.layers], (5,)).double()
        with pytest.raises(UnfitModel, match="is not that of its layers one after the other"):
            rules.Trainer(model, "rtrl").step(given())

    @pytest.mark.parametrize("made", [lambda: parametrizations.weight_norm(nn.Linear(5, 5)), pruned])
    def test_a_weight_that_is_computed(self, made):
        with pytest.raises(UnfitModel, match="a weight of layers.0 is computed from other parameters"):
            rules.Trainer(stack(Layer(made(), cells())), "ostl").step(given())

    def test_recurrent_weights_that_are_no_matrix(self):
        model = stack(Layer(nn.Linear(5, 5), cells(nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5)))))
        with pytest.raises(UnfitModel, match="hear each other through a Sequential"):
            rules.Trainer(model, "ostl").step(given())

    @pytest.mark.parametrize("rule", ["ottt", "decolle", "otpe"])
    @pytest.mark.parametrize("name", ["qif", "adex", "izhikevich", "coba_lif", "fitzhugh_nagumo"])
    def test_cells_that_leak_otherwise_after_a_silent_first_step(self, rule, name):
        model, some = net(NEURONS[name](), (6, 6)), batch()
        some.x[0] = 0
        with pytest.raises(UnfitModel, match="do not leak at one constant rate"):
            rules.Trainer(model, rule).step(some)

    def test_cells_that_are_held_after_a_spike(self):
        model = net(LIF(reset="subtract", t_refractory=5.0), (6,))
        with pytest.raises(UnfitModel, match="do not leak at one constant rate"):
            rules.Trainer(model, "ottt").step(batch())

    @pytest.mark.parametrize("neuron", [CubaLIF(reset="none"), AlphaLIF(reset="none"), TwoCompartment(), CobaLIF()])
    def test_a_filter_of_a_read_out_with_several_time_constants(self, neuron):
        model = net(LIF(), (6,), readout=neuron)
        with pytest.raises(UnfitModel, match=r"by more than one time constant|do not leak at one constant rate"):
            rules.Trainer(model, "eprop").step(batch())

    def test_a_filter_of_a_read_out_that_is_graded_and_leaks_otherwise(self):
        equation = "dv/dt = (-v - v**3/mV**2 + current * Mohm) / (20*ms) : volt"
        model = net(LIF(), (6,), readout=from_brian2(equation, method="euler"))
        with pytest.raises(UnfitModel, match="do not leak at one constant rate"):
            rules.Trainer(model, "eprop").step(batch())

    def test_adaptive_feedback_of_a_read_out_that_pools(self):
        model = stack(Layer(nn.Conv2d(1, 2, 3, padding=1), cells()), inner=(1, 4, 4), n=8)
        model.layers[1].synapse = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), model.layers[1].synapse)
        trainer = rules.Trainer(model, rules.make("eprop", signal="adaptive"))
        trainer.step(given(1, 4, 4))
        with pytest.raises(UnfitModel, match='with a weight for each cell below.*signal="random"'):
            trainer.step(given(1, 4, 4))

    @pytest.mark.parametrize(("first", "second"), [("rtrl", "ostl"), ("eprop", "ostl"), ("ottt", "eprop")])
    def test_the_carry_of_another_rule(self, first, second):
        info = rules.Trainer(net(LIF(reset="subtract"), (6,)), first).step(batch())
        with pytest.raises(ValueError, match="continue a sequence with the rule that began it"):
            rules.Trainer(net(LIF(reset="subtract"), (6,)), second).step(batch()._replace(carry=info.carry))

    def test_half_precision_is_not_taken_for_coupled_cells(self):
        model = net(LIF(), (6,)).bfloat16()
        some = batch()
        info = rules.Trainer(model, "ostl").step(some._replace(x=some.x.bfloat16()))
        assert info.loss > 0


def test_rtrl_is_backpropagation_where_it_is_not_refused():
    """The oracle of the class above, on a network like those."""
    model = stack(Layer(nn.Linear(5, 5), cells()))
    rng = torch.Generator().manual_seed(0)
    wanted = BPTT().assign(model, LOSS, given(), (), rng)
    assert distance(assigned(Online("influence"), model, given()).grads, wanted.grads) < EXACT
