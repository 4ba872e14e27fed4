"""Eligibility that waits for a reward: one pair in closed form, a loop over steps, baselines, and bad input."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import rules
from rules.contract import Batch
from rules.credit.spike_timing import RewardSTDP, Window
from rules.objectives.distillation import SelfEnsemble
from rules.plasticity import SGD
from sandbox.neurons import LIF
from tests.rules.credit.spike_timing.nets import SAMPLES, STEPS, credit, net, spikes

EXACT = 1e-12  # float64 sums of some thousand products of order one
WINDOW = Window(a_plus=0.8, a_minus=0.5, tau_plus=9.0, tau_minus=13.0)
RULE = RewardSTDP(WINDOW, tau_e=40.0)
NAME = "layers.0.synapse.weight"


def rewarded(given=None, seed=5):
    reward = torch.randn(STEPS, SAMPLES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (given or spikes())._replace(targets=reward)


@pytest.mark.parametrize("delay", [0, 1, 15])
def test_a_pair_and_a_delayed_reward_in_closed_form(delay):
    """The figure of one pre-post pair and a later reward: r a_plus e^(-lag / tau_plus) e^(-delay / tau_e)."""
    lag, model = 7, net((1,), neuron=LIF(tau_mem=1e-3), shape=(2,))  # a cell that fires where its input is over 1
    with torch.no_grad():
        model.layers[0].synapse.weight.copy_(torch.tensor([[0.0, 2.0]]))
        model.layers[0].synapse.bias.zero_()
    x, reward = torch.zeros(40, 1, 2, dtype=torch.float64), torch.zeros(40, 1, dtype=torch.float64)
    x[3, 0, 0] = 1
    x[3 + lag, 0, 1] = 1  # drives the cell
    reward[3 + lag + delay] = 2.5
    found = credit(RULE, model, Batch(x, targets=reward))
    weight = 2.5 * 0.8 * math.exp(-lag / 9) * math.exp(-delay / 40)
    assert float(-found.grads[NAME][0, 0]) == pytest.approx(weight, rel=EXACT)
    trace = 0.8 * math.exp(-lag / 9) * math.exp(-(40 - 1 - 3 - lag) / 40)
    assert float(found.carry.traces[0][-1][0, 0, 0]) == pytest.approx(trace, rel=EXACT)
    before = credit(RULE, model, Batch(x, targets=torch.roll(reward, -delay - 1, 0)))
    assert float(before.grads[NAME][0, 0]) == 0.0  # a reward that came before the pair


def test_it_is_the_loop_over_steps():
    model, given, window = net(), rewarded(), WINDOW
    found = credit(RULE, model, given)
    with torch.no_grad():
        traces = model(given.x, record=True).traces
    for trace in traces[:-1]:
        el = torch.zeros(SAMPLES, trace.post.shape[2], trace.pre.shape[2], dtype=torch.float64)
        x, y, total = torch.zeros_like(trace.pre[0]), torch.zeros_like(trace.post[0]), 0.0
        for pre, post, reward in zip(trace.pre, trace.post, given.targets, strict=True):
            x, y = math.exp(-1 / window.tau_plus) * x + pre, math.exp(-1 / window.tau_minus) * y + post
            pairs = 0.8 * post[:, :, None] * x[:, None] - 0.5 * y[:, :, None] * pre[:, None]
            el = math.exp(-1 / 40) * el + pairs
            total = total - torch.einsum("b,bck->ck", reward, el) / SAMPLES
        assert float((found.grads[trace.weight] - total).abs().max()) < EXACT * float(total.abs().max() + 1)
    assert found.loss == pytest.approx(-float(given.targets.sum()) / SAMPLES)


def test_windows_add_up_where_weights_stand_still():
    model, given = net(), rewarded()
    whole, carry, total = credit(RULE, model, given).grads, None, {}
    for x, reward in zip(given.x.split(17), given.targets.split(17), strict=True):
        part = credit(RULE, model, Batch(x, carry=carry, targets=reward))
        carry = part.carry
        total = {name: total.get(name, 0) + g for name, g in part.grads.items()}
    for name, g in whole.items():
        assert float((total[name] - g).abs().max()) < EXACT * float(g.abs().max() + 1)


def test_a_reward_that_is_always_the_same_teaches_nothing_beside_its_mean():
    """From the second batch on; the first has nothing to compare with."""
    model, given = net(), spikes()._replace(targets=torch.full((STEPS, SAMPLES), 0.7, dtype=torch.float64))
    rule = replace(RULE, baseline="mean")
    first = credit(rule, model, given)
    second = rule.assign(model, None, given, first.state, torch.Generator())
    assert all(g.any() for g in first.grads.values())
    assert all(float(g.abs().max()) < EXACT for g in second.grads.values())
    assert float(second.state["sum"] / second.state["weight"]) == pytest.approx(0.7)


def test_a_running_mean_forgets_as_its_memory_says():
    rule, state = replace(RULE, baseline="mean", memory=0.75), None
    model, seen = net(), (1.0, 3.0, -2.0)
    state = rule.init(model, torch.Generator())
    for value in seen:
        given = spikes()._replace(targets=torch.full((STEPS, SAMPLES), value, dtype=torch.float64))
        state = rule.assign(model, None, given, state, torch.Generator()).state
    weights = [0.75**2, 0.75, 1.0]
    wanted = sum(w * v for w, v in zip(weights, seen, strict=True)) / sum(weights)
    assert float(state["sum"] / state["weight"]) == pytest.approx(wanted)


def test_what_lies_behind_the_end_of_a_sample_changes_nothing():
    ends = torch.tensor([STEPS, 31, 8])
    given = rewarded()._replace(lengths=ends)
    other = given._replace(x=given.x.clone(), targets=given.targets.clone())
    for number, end in enumerate(ends):
        other.x[end:, number], other.targets[end:, number] = 1 - other.x[end:, number], 9.0
    for rule in (RULE, replace(RULE, baseline="mean")):
        one, two = (credit(rule, net(), each) for each in (given, other))
        assert all(torch.equal(g, two.grads[name]) for name, g in one.grads.items())
        assert (one.loss, one.state) == (two.loss, two.state)


def test_steps_of_no_class_are_not_in_the_mean():
    given, mean = rewarded(), replace(RULE, baseline="mean")
    asked = torch.ones(STEPS, SAMPLES, dtype=torch.int64)
    asked[1:] = -100
    found = credit(mean, net(), given._replace(targets=asked)).state
    first = credit(mean, net(), given._replace(x=given.x[:1], targets=asked[:1])).state
    assert {name: float(value) for name, value in found.items()} == {name: float(v) for name, v in first.items()}


def test_the_weights_between_samples_do_not_mix():
    """Each sample has a reward of its own: without a reward a sample changes nothing."""
    given = rewarded()
    given.targets[:, 1:] = 0
    alone = credit(RULE, net(), Batch(given.x[:, :1], targets=given.targets[:, :1])).grads
    for name, g in credit(RULE, net(), given).grads.items():
        assert float((SAMPLES * g - alone[name]).abs().max()) < EXACT * float(alone[name].abs().max() + 1)


def test_it_raises_the_rate_of_a_rewarded_cell():
    """Where the reward is that a cell fired, its weights grow; where that is punished, they shrink."""
    sums = []
    for sign in (1, -1):
        model, given = net((1,)), spikes()
        with torch.no_grad():
            reward = sign * model.layers[0].run(given.x).output[..., 0]
        found = credit(replace(RULE, window=Window(a_minus=0.0)), model, given._replace(targets=reward))
        sums.append(float(found.grads[NAME].sum()))
    assert sums[0] < 0 < sums[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "avg"}, "unknown baseline 'avg'.*none, mean"),
        ({"tau_e": 0.0}, "tau_e=0.0: give a time constant above 0, in ms"),
        ({"memory": 1.0}, "memory=1.0: give the share of the running mean that is kept, from 0 to below 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RewardSTDP(**options)


def test_without_rewards_it_says_how_to_give_them():
    with pytest.raises(ValueError, match=r"or a class from y; this batch has none: .*targets=reward"):
        credit(RULE, net(), spikes())
    with pytest.raises(rules.MissingNeed, match="labels"):
        rules.Trainer(net(), "r_stdp").step(spikes())


def test_a_teacher_is_refused():
    with pytest.raises(ValueError, match="RewardSTDP learns from rewards and never asks its objective, so that the te"):
        rules.LearningRule(SelfEnsemble(teacher=torch.nn.Linear(2, 3)), RULE, SGD(1.0))
