"""Weights that act in the next step: against Brian2 in a closed loop, against windows of one step, and what is refused."""

from __future__ import annotations

import pytest
import torch

import rules
from rules.credit.spike_timing import STDP, Voltage, Window
from rules.models.admission import UnfitModel
from rules.plasticity import SGD
from sandbox import build, learnable
from sandbox.neurons import ALIF, LIF, AdEx, StochasticBinary
from tests.rules.credit.spike_timing.nets import credit, net, spikes

EXACT = 1e-12
SMALL = Window(a_plus=0.02, a_minus=0.021, tau_plus=9.0, tau_minus=13.0)


def at_once(window=SMALL, **options):
    return STDP(window, acts="at_once", **options)


def learned():
    return LIF(tau_mem=5.0, v_threshold=learnable(0.5, (1,)))


def learning(credit_, every=None):
    return rules.LearningRule(rules.OBJECTIVES["assignment"](), credit_, SGD(1.0), every)


@pytest.mark.parametrize("hidden", [(5,), ("5r",), ("5r", 4)])
@pytest.mark.parametrize(
    "window",
    [
        SMALL,
        Window(a_plus=0.02, a_minus=0.01, read="before", pairing="nearest"),
        Window(a_plus=0.01, a_minus=0.01, triplet_plus=0.02, triplet_minus=0.01),
    ],
)
def test_updates_after_each_step_of_one_sample_are_the_same(hidden, window):
    """The rule that changes weights after a window, in windows of one step: the weights act in the next one."""
    ends = []
    for rule in (learning(at_once(window)), learning(STDP(window), every=1)):
        model = net(hidden)
        rules.Trainer(model, rule, health=None).step(spikes(samples=1))
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        assert float((value - ends[1][name]).abs().max()) < EXACT * float(value.abs().max() + 1), name
    start, moved = net(hidden).layers[0].synapse.weight, ends[0]["layers.0.synapse.weight"]
    assert float((moved - start).abs().max()) > 0.01


def test_samples_begin_alike_and_their_changes_are_averaged():
    model, given = net(("5r",)), spikes()
    whole = credit(at_once(), model, given).grads
    each = [credit(at_once(), model, given._replace(x=given.x[:, b : b + 1])).grads for b in range(3)]
    for name, g in whole.items():
        assert float((g - sum(one[name] for one in each) / 3).abs().max()) < EXACT
        assert float((each[0][name] - each[1][name]).abs().max()) > 1e-3


def test_bounds_hold_in_every_step():
    model, given = net((5,)), spikes()
    before = model.layers[0].synapse.weight.detach()
    low, high = 0.2, 1.0
    found = before - credit(at_once(low=low, high=high), model, given).grads["layers.0.synapse.weight"]
    inside = (before > low) & (before < high)
    assert bool(((found >= low - EXACT) & (found <= high + EXACT))[inside].all())
    assert not torch.allclose(found, before - credit(at_once(), model, given).grads["layers.0.synapse.weight"])


def test_frozen_recurrent_weights_stay():
    model, given = net(("5r",)), spikes()
    model.layers[0].cells.recurrent.requires_grad_(False)
    assert set(credit(at_once(), model, given).grads) == {"layers.0.synapse.weight"}


def test_steps_behind_the_end_teach_nothing():
    model, given = net((5,)), spikes()
    lengths = torch.tensor([60, 20, 35])
    found = credit(at_once(), model, given._replace(lengths=lengths)).grads["layers.0.synapse.weight"]
    parts = [
        credit(at_once(), model, given._replace(x=given.x[:n, b : b + 1])).grads["layers.0.synapse.weight"]
        for b, n in enumerate(lengths.tolist())
    ]
    assert float((found - sum(parts) / 3).abs().max()) < EXACT


def test_windows_go_on_with_the_traces():
    """One trainer updates after 60 steps, the other after each 17: weights act at once in both."""
    ends = []
    for every in (None, 17):
        model = net(("5r",))
        rules.Trainer(model, learning(at_once(), every), health=None).step(spikes(samples=1))
        ends.append(model.layers[0].synapse.weight.detach())
    assert float((ends[0] - ends[1]).abs().max()) < EXACT * 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acts": "sometimes"}, r"unknown acts 'sometimes'; .*valid: after, at_once"),
        ({"high": 1.0}, r"high=1.0 with acts='after': what bounds a weight after the sequence is its plasticity"),
        ({"acts": "at_once", "low": 2.0, "high": 1.0}, r"low=2.0, high=1.0: give a lower bound below the upper one"),
        ({"acts": "at_once", "window": Voltage()}, r"weights that act at once change by spikes: give a Window, or use"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        STDP(**options)


def test_a_convolution():
    model = build((1, 5, 5), 3, hidden=("3c3",), neuron=LIF(tau_mem=5.0)).double()
    with pytest.raises(UnfitModel, match=r"the weights of layers\.0 are shared between places, .* or acts=\"after\""):
        credit(at_once(), model, spikes(shape=(1, 5, 5)))


@pytest.mark.parametrize(
    "neuron", [LIF(tau_mem=5.0), ALIF(tau_mem=5.0, beta=0.3), AdEx(), StochasticBinary(), learned()], ids=repr
)
@pytest.mark.parametrize("bounds", [{}, {"low": 0.1, "high": 1.5}])
@pytest.mark.parametrize(
    "window",
    [
        SMALL,
        Window(a_plus=0.02, a_minus=0.01, read="before", pairing="nearest", shape="symmetric"),
        Window(a_plus=0.01, a_minus=0.01, triplet_plus=0.02, triplet_minus=0.01, read="in_turn"),
    ],
)
def test_the_kernel_is_the_loop(neuron, bounds, window, monkeypatch):
    """Weights of all entries, traces and membranes after 60 steps, and then 20 more from the carry."""
    ends = []
    for mode in ("plain", "numba"):
        monkeypatch.setenv("SANDBOX_KERNELS", mode)
        model = net(("5r", 4), neuron=neuron, scale=400.0 if isinstance(neuron, AdEx) else 6.0)
        rule = at_once(window, **bounds)
        first = credit(rule, model, spikes())
        second = credit(rule, model, spikes(20, seed=2)._replace(carry=first.carry))
        ends.append((first.grads, second.grads, [t for part in second.carry.traces for t in part]))
        assert any(float(g.abs().max()) > 1e-3 for g in second.grads.values())
    for mine, theirs in zip(*([*a.values(), *b.values(), *c] for a, b, c in ends), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)  # sums in another order


def test_the_kernel_takes_numbers_for_sizes_of_spikes(monkeypatch):
    given = spikes()
    given = given._replace(x=given.x * torch.rand(given.x.shape, generator=torch.Generator().manual_seed(3)).double())
    found = []
    for mode in ("plain", "numba"):
        monkeypatch.setenv("SANDBOX_KERNELS", mode)
        found.append(credit(at_once(), net(("5r",)), given).grads["layers.0.synapse.weight"])
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
