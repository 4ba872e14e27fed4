"""Thresholds that adapt, and what keeps a layer from learning: by loops, through a trainer, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules.credit.spike_timing import STDP, Homeostasis, Window
from rules.diagnostics.health import HealthWarning
from rules.models.admission import UnfitModel
from sandbox import build, learnable
from sandbox.networks.network import Layer, Network
from sandbox.networks.population import Population
from sandbox.neurons import LIF
from tests.rules.credit.spike_timing.nets import SAMPLES, STEPS, credit, net, spikes

NAME = "layers.0.cells.learned.raw.v_threshold"
WINDOW = Window()


def adapting(cells=5, start=0.2):
    return net((cells,), neuron=LIF(tau_mem=5.0, v_threshold=learnable(start, (cells,))))


def test_a_threshold_moves_by_the_spikes_of_its_cell():
    model, given = adapting(), spikes()
    found = credit(STDP(WINDOW, Homeostasis(gain=0.3, target=20.0)), model, given).grads
    with torch.no_grad():
        post = model(given.x, record=True).traces[0].post
    for cell in range(5):
        fired = sum(float(post[t, b, cell]) for t in range(STEPS) for b in range(SAMPLES)) / SAMPLES
        assert float(found[NAME][cell]) == pytest.approx(-0.3 * (fired - 20.0 * STEPS / 1000), rel=1e-12)
    assert len({round(float(g), 6) for g in found[NAME]}) > 2


def test_the_weights_learn_as_without():
    model, given = adapting(), spikes()
    with_, without = (credit(STDP(WINDOW, each), model, given).grads for each in (Homeostasis(), None))
    assert set(with_) - set(without) == {NAME}
    assert all(torch.equal(with_[name], g) for name, g in without.items())


def test_maps_of_a_convolution_have_the_mean_of_their_places():
    given = spikes(shape=(1, 5, 5))
    model = build(
        (1, 5, 5), 3, hidden=("3c3",), neuron=LIF(tau_mem=5.0, v_threshold=learnable(0.2, (3, 1, 1)))
    ).double()
    found = credit(STDP(WINDOW, Homeostasis(gain=1.0)), model, given).grads[NAME]
    post = model(given.x, record=True).traces[0].post  # [T, B, 3, 5, 5]
    assert found.shape == (3, 1, 1)
    torch.testing.assert_close(-found[:, 0, 0], post.sum(0).mean((0, 2, 3)).detach(), rtol=1e-12, atol=0)


def test_rates_go_to_the_target():
    """Weights stand still, as their amplitudes are 0; the threshold of every cell finds 40 Hz, from 3 spikes in 60 ms."""
    model = adapting(start=0.05)
    rule = rules.make("stdp", a_plus=0.0, a_minus=0.0, homeostasis=1.0, target=40.0, lr=0.05)
    trainer = rules.Trainer(model, rule)
    rates = []
    for seed in range(200):
        given = spikes(samples=20, seed=seed)
        trainer.step(given)
        rates.append(model(given.x, record=True).traces[0].post.mean((0, 1)) * 1000)
    assert float(rates[0].min()) > 60
    assert bool((torch.stack(rates[-50:]).mean(0) - 40).abs().max() < 4)  # 3000 spikes: 2 % of noise, and steps of 0.05


def test_layers_without_learned_thresholds_are_left():
    model = net((5, 4), neuron=LIF(tau_mem=5.0, v_threshold=0.2))
    with pytest.raises(
        UnfitModel, match=r"homeostasis moves thresholds, and layers\.0, layers\.1 learn none for each c"
    ):
        rules.Trainer(
            model,
            rules.LearningRule(
                rules.make("stdp").objective, STDP(WINDOW, Homeostasis()), rules.make("stdp").plasticity
            ),
        ).step(spikes())


def test_one_threshold_for_all_cells_is_not_one_for_each():
    model = net((5,), neuron=LIF(tau_mem=5.0, v_threshold=learnable(0.2)))
    with pytest.raises(UnfitModel, match="learn none for each cell: build the model with neuron=sandbox.LIF"):
        STDP(WINDOW, Homeostasis()).parameters(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gain": -1.0}, "gain=-1.0"), ({"target": -1.0}, "target=-1.0"), ({"gain": float("nan")}, "gain=nan")],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Homeostasis(**options)


def test_a_target_without_homeostasis():
    with pytest.raises(ValueError, match=r"target=5.0 without homeostasis, which moves thresholds"):
        rules.make("stdp", target=5.0)


def findings(model, given, rule="stdp"):
    return {each.kind: each for each in credit(rules.make(rule).credit, model, given).findings}


@pytest.mark.parametrize("rule", ["stdp", "r_stdp"])
@pytest.mark.parametrize(
    ("side", "message"),
    [
        (
            "post",
            r"sees no post-synaptic spikes in 60 steps, so that no pair changes its weights; lower the threshold of",
        ),
        (
            "pre",
            r"sees no pre-synaptic spikes in 60 steps, so that no pair changes its weights; encode the input of laye",
        ),
    ],
)
def test_silence_is_a_finding_with_its_remedy(side, message, rule):
    model, given = net((5,), scale=0.0 if side == "post" else 6.0), spikes(chance=0.3 if side == "post" else 0.0)
    given = given._replace(targets=torch.zeros(STEPS, SAMPLES).double())
    assert message in str(findings(model, given, rule)["without pairs"])


def test_a_trainer_says_it():
    with pytest.warns(HealthWarning, match=r"step 1: layers\.0 is without pairs \(0\): STDP sees no post-synaptic"):
        rules.Trainer(net((5,), scale=0.0), rules.make("stdp")).step(spikes())


def test_a_window_shorter_than_a_time_constant_may_be_silent():
    model = net((5,), scale=0.0)
    rule = STDP(WINDOW)
    first = credit(rule, model, spikes(8))
    assert not first.findings
    assert not credit(rule, model, spikes()._replace(carry=first.carry)).findings


def test_a_cell_that_always_wins():
    model, given = net((5,)), spikes(samples=12)
    with torch.no_grad():
        model.layers[0].synapse.weight.copy_(4 * torch.eye(5, 4))  # each cell hears an input of its own
    assert "monopolised" not in findings(model, given)
    with torch.no_grad():
        model.layers[0].synapse.weight[3] = 8.0
    found = findings(model, given)["monopolised"]
    assert str(found).startswith("layers.0 is monopolised (1): cell 3 fires most in 100% of the samples")
    assert "monopolised" not in findings(model, spikes(samples=3))  # too few to tell


def test_padding_is_not_a_time_without_spikes():
    model, given = adapting(), spikes(samples=1)
    rule = STDP(WINDOW, Homeostasis(gain=0.3, target=20.0))
    short = credit(rule, model, given._replace(x=given.x[:20])).grads[NAME]
    padded = credit(rule, model, given._replace(lengths=torch.tensor([20]))).grads[NAME]
    torch.testing.assert_close(padded, short, rtol=1e-12, atol=0)


@pytest.mark.parametrize("acts", ["after", "at_once"])
def test_thresholds_move_where_weights_are_frozen(acts):
    model, given = adapting(), spikes()
    wanted = credit(STDP(WINDOW, Homeostasis()), model, given).grads[NAME]
    model.layers[0].synapse.weight.requires_grad_(False)
    found = credit(STDP(WINDOW, Homeostasis(), acts), model, given).grads
    torch.testing.assert_close(found[NAME], wanted, rtol=1e-12, atol=0)


def test_a_threshold_of_two_layers_hears_both():
    cells = Population(LIF(tau_mem=5.0, v_threshold=learnable(0.2, (4,))), 1.0)
    model = Network([Layer(nn.Linear(4, 4), cells), Layer(nn.Linear(4, 4), cells)], (4,)).double()
    with torch.no_grad():
        for layer in model.layers:
            layer.synapse.weight.copy_(2 * torch.eye(4))
    given = spikes()
    (found,) = (
        g for name, g in credit(STDP(WINDOW, Homeostasis(gain=1.0)), model, given).grads.items() if "raw" in name
    )
    posts = [trace.post.sum((0, 1)).detach() / SAMPLES for trace in model(given.x, record=True).traces]
    assert all(bool(post.any()) for post in posts)
    torch.testing.assert_close(-found, posts[0] + posts[1], rtol=1e-12, atol=0)
