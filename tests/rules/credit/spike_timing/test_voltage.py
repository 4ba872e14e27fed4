"""Plasticity by membranes: through a model, over windows, and what it refuses; tests of the reference compare Brian2."""

from __future__ import annotations

import pytest
import torch

import rules
from rules.credit.spike_timing import STDP, RewardSTDP, Voltage
from rules.models.admission import UnfitModel
from tests.rules.credit.spike_timing.nets import SAMPLES, STEPS, credit, net, spikes

EXACT = 1e-12
WINDOW = Voltage(theta_minus=-0.9, theta_plus=-0.3, tau_x=9.0)


def looped(window, pre, u, dt=1.0):
    """The change of one weight by an input and a membrane, step by step."""
    fade = [2.718281828459045 ** (-dt / tau) for tau in (window.tau_x, window.tau_minus, window.tau_plus)]
    x, low, high, change = 0.0, u[0], u[0], 0.0
    for spike, now in zip(pre, u, strict=True):
        x = fade[0] * x + spike
        change -= window.a_minus * spike * max(low - window.theta_minus, 0)
        change += window.a_plus * dt * x * max(now - window.theta_plus, 0) * max(high - window.theta_minus, 0)
        low, high = (fade[k] * old + (1 - fade[k]) * now for k, old in ((1, low), (2, high)))
    return change


def test_the_gradient_is_minus_the_mean_change_of_the_recorded_membranes():
    model, given = net((5,)), spikes()
    found = credit(STDP(WINDOW), model, given).grads["layers.0.synapse.weight"]
    with torch.no_grad():
        trace = model(given.x, record=True).traces[0]
    for cell in range(5):
        for entry in range(4):
            pairs = ((given.x[:, b, entry].tolist(), trace.u[:, b, cell].tolist()) for b in range(SAMPLES))
            wanted = -sum(looped(WINDOW, *pair) for pair in pairs) / SAMPLES
            assert float(found[cell, entry]) == pytest.approx(wanted, rel=EXACT, abs=EXACT)
    assert float(found.abs().max()) > 0.1


def test_windows_add_up():
    model, given = net((5,)), spikes()
    whole = credit(STDP(WINDOW), model, given).grads["layers.0.synapse.weight"]
    first = credit(STDP(WINDOW), model, given._replace(x=given.x[:23]))
    second = credit(STDP(WINDOW), model, given._replace(x=given.x[23:], carry=first.carry))
    parts = [each.grads["layers.0.synapse.weight"] for each in (first, second)]
    assert float((sum(parts) - whole).abs().max()) < EXACT * float(whole.abs().max() + 1)


def test_a_reward_gates_it():
    model, given = net((5,)), spikes()
    reward = torch.zeros(STEPS, SAMPLES).double()
    assert not credit(RewardSTDP(WINDOW), model, given._replace(targets=reward)).grads["layers.0.synapse.weight"].any()
    reward[-1] = 1.0
    found = credit(RewardSTDP(WINDOW, tau_e=1e12), model, given._replace(targets=reward)).grads
    wanted = credit(STDP(WINDOW), model, given).grads["layers.0.synapse.weight"]  # an eligibility that fades in 1e9 s
    torch.testing.assert_close(found["layers.0.synapse.weight"], wanted, rtol=1e-9, atol=0)


def test_a_cell_that_does_not_fire_learns():
    """From the membrane below threshold; a silent layer is no finding, unless no input comes."""
    model, given = net((5,), scale=0.0), spikes()
    with torch.no_grad():
        model.layers[0].synapse.bias.fill_(0.8)
    found = credit(STDP(WINDOW), model, given)
    assert not model(given.x, record=True).traces[0].post.any()
    assert found.grads["layers.0.synapse.weight"].any()
    assert not found.findings
    assert "pre-synaptic" in str(credit(STDP(WINDOW), model, spikes(chance=0.0)).findings[0])


def test_a_trainer_takes_the_recipe():
    trainer = rules.Trainer(net((5,)), rules.make("voltage_stdp", theta_minus=-0.8))
    before = trainer.model.layers[0].synapse.weight.clone()
    trainer.step(spikes())
    assert not torch.equal(before, trainer.model.layers[0].synapse.weight)


def test_cells_that_do_not_show_their_membrane(monkeypatch):
    model, given = net((5,)), spikes()
    layer = model.layers[0]
    shown = type(layer).respond

    def respond(self, x, currents, carry, record):
        return shown(self, x, currents, carry, False)

    monkeypatch.setattr(type(layer), "respond", respond)
    with pytest.raises(
        UnfitModel, match=r"the cells of layers\.0 do not show their membranes, .* or use a window of spi"
    ):
        credit(STDP(WINDOW), model, given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau_x": 0.0}, r"tau_x=0.0: give a time constant above 0, in ms"),
        ({"a_minus": -1.0}, r"a_minus=-1.0"),
        ({"theta_plus": -2.0}, r"theta_plus=-2.0, theta_minus=-1.0: give a high threshold above the low one"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Voltage(**options)


def test_traces_of_other_cells():
    pre, u = torch.zeros(3, 2, 1, 4), torch.zeros(3, 2, 5, 1)
    with pytest.raises(ValueError, match="continue a sequence with the rule and the samples that began it"):
        WINDOW.terms(pre, u, 1.0, (pre[0], u[0], u[0, :1]), u)


def test_membranes_behind_the_end_of_a_sample_teach_nothing():
    model, given, lengths = net((5,)), spikes(), torch.tensor([60, 20, 35])
    found = credit(STDP(WINDOW), model, given._replace(lengths=lengths)).grads["layers.0.synapse.weight"]
    parts = [
        credit(STDP(WINDOW), model, given._replace(x=given.x[:n, b : b + 1])).grads["layers.0.synapse.weight"]
        for b, n in enumerate(lengths.tolist())
    ]
    assert float((found - sum(parts) / 3).abs().max()) < EXACT * float(found.abs().max() + 1)
