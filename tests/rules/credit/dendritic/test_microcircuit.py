"""The dendritic microcircuit: its self-predicting state, and its errors beside those of backpropagation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.dendritic import Microcircuit
from rules.models.chain import chain_of
from rules.plasticity import SGD
from rules.settling import NotSettled, norm
from tests.rules.credit.dendritic.test_burst import Silent, aligned, credit
from tests.rules.credit.relaxation.nets import apart, backpropagated, batch, chain, slope

SETTLED = {"tolerance": 1e-15, "steps": 5000}  # the floor of round-off ends a phase
NUDGES = [4e-2, 2e-2, 1e-2, 5e-3]  # larger ones feel the next power


def opened(rule, model, seen, seed=3):
    """A rule's circuit on a model, its input and its forward pass."""
    found, x, _ = chain_of(model, "", seen)
    return rule.wired(model, found, rule.init(model, torch.Generator().manual_seed(seed))), x, rule.forward(found, x)


@pytest.mark.parametrize("active", [nn.Sigmoid, nn.Tanh, nn.Softplus])
def test_in_the_self_predicting_state_apical_dendrites_are_silent(active):
    """And the network at rest is the forward pass."""
    rule, model, seen = Microcircuit(), chain(active=active), batch()
    wired, x, forward = opened(rule, model, seen)
    rest, sweeps = rule.rest(wired, x, forward)
    assert sweeps == 1
    assert norm(rule.apical(wired, rest)) < 1e-14
    assert torch.allclose(rest.r[-1], model(seen.x), atol=1e-14, rtol=0)


@pytest.mark.parametrize("active", [nn.Sigmoid, nn.Tanh])
def test_a_nudge_shows_the_error_in_the_apical_potential(active):
    """P9.14: V_A = nudge W_pp f' (y* - y) in the layer below the output, and the remainder is of second order."""
    model, seen = chain(active=active, last=True, scale=0.7), batch()
    wanted = torch.randn(7, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    left = []
    for nudge in NUDGES:
        rule = Microcircuit(nudge, **SETTLED)
        wired, x, forward = opened(rule, model, seen)
        rest, _ = rule.rest(wired, x, forward, lambda out, nudge=nudge: nudge * (wanted - out))
        link = wired.chain.links[-1]
        steep = link.sloped(forward.basal[-1])[1]
        linear = nudge * (steep * (wanted - forward.r[-1])) @ wired.down[-1]
        left.append(float((rule.apical(wired, rest)[-1] - linear).detach().norm()))
        assert left[-1] < 0.2 * float(linear.detach().norm())
    assert slope(NUDGES, left) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("baseline", ["free", "none"])
def test_the_credit_approaches_that_with_w_pp_in_place_of_the_transposed_weights(baseline):
    """Through all layers; what is left falls as the nudge."""
    model, seen = chain(scale=0.7), batch()
    wanted = aligned(model, seen, Microcircuit().init(model, torch.Generator().manual_seed(3)).down)
    errors = [apart(credit(Microcircuit(n, baseline=baseline, **SETTLED), model, seen).grads, wanted) for n in NUDGES]
    assert slope(NUDGES, errors) == pytest.approx(1, abs=0.1)
    assert errors[-1] < 1e-2


@pytest.mark.parametrize("objective", ["ce_mean", "mse"])
def test_through_the_transposed_weights_it_approaches_the_gradient(objective):
    model, seen = chain(scale=0.7), batch()
    if objective == "mse":
        seen = seen._replace(y=torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))
    wanted = backpropagated(model, seen, objective)
    rule = lambda nudge: Microcircuit(nudge, top_down="transposed", **SETTLED)  # noqa: E731
    errors = [apart(credit(rule(nudge), model, seen, objective).grads, wanted) for nudge in NUDGES]
    assert slope(NUDGES, errors) == pytest.approx(1, abs=0.1)
    assert errors[-1] < 1e-2


@pytest.mark.parametrize("start", ["self_predicting", "random"])
def test_without_a_teacher_nothing_changes(start):
    """With the baseline also where apical dendrites are not silent."""
    grads = credit(Microcircuit(start=start, **SETTLED), chain(scale=0.5), batch(), Silent()).grads
    assert all(float(g.abs().max()) < 1e-12 for g in grads.values())  # round-off by the nudge


def test_lateral_weights_learn_to_predict_the_layer_above():
    """From random ones, with the forward weights at rest.

    Rates of 12 samples have a covariance with eigenvalues from 2 down to 1e-6 in the first layer and 1e-8 in the
    second. Along each direction an error falls by a share `step * eigenvalue` in a batch, so that 1000 batches leave what
    lies along the smallest: about a hundredth.
    """
    model, seen = chain(active=nn.Sigmoid, scale=0.5), batch(samples=12)
    rule = Microcircuit(start="random", rate=1.0)
    state = rule.init(model, torch.Generator().manual_seed(3))
    said = []
    for _ in range(1000):
        found = rule.assign(model, Silent(), seen, state, torch.Generator())
        state, _ = found.state, said.append(found.info["apical_at_rest"])
    assert said[-1] < 0.03 * said[0]
    found, x, _ = chain_of(model, "", seen)
    wired = rule.wired(model, found, state)
    rest, _ = rule.rest(wired, x, rule.forward(found, x))
    for number in range(2):
        missed = rule.inter(wired, rest.r[number], number) - rest.r[number + 1]
        assert float(missed.detach().norm() / rest.r[number + 1].detach().norm()) < 0.02


def test_the_weights_of_interneurons_contract_by_the_covariance_of_their_rates():
    """From W_pi = -W_pp + d, with small d: d <- (1 - step C) d, C = inter^T inter / n, to first order in d."""
    model, seen, rule = chain(active=nn.Sigmoid, scale=0.5), batch(samples=12), Microcircuit(rate=1.0, **SETTLED)
    state = rule.init(model, torch.Generator().manual_seed(3))
    name, rng = list(state.back)[-1], torch.Generator().manual_seed(7)
    d = 1e-6 * torch.randn(state.back[name].shape, dtype=torch.float64, generator=rng)
    state = state._replace(back={**state.back, name: state.back[name] + d})
    wired, _, forward = opened(rule, model, seen)
    inter = rule.inter(wired, forward.r[-2], len(forward.r) - 2).detach()
    step = 1 / (1 + inter.square().sum(1).mean())
    shrunk = torch.eye(len(d), dtype=torch.float64) - step * inter.T @ inter / len(inter)
    for _ in range(10):
        state, d = rule.assign(model, Silent(), seen, state, torch.Generator()).state, shrunk @ d
    assert (
        apart({"d": state.back[name] + state.down[name]}, {"d": d}) < 1e-4
    )  # of second order in d, over the least left


def test_the_self_predicting_state_is_a_fixed_point():
    model, seen, rule = chain(), batch(), Microcircuit()
    state = rule.init(model, torch.Generator().manual_seed(3))
    after = rule.assign(model, rules.OBJECTIVES["ce_mean"](), seen, state, torch.Generator()).state
    for now, then in zip(state[1:], after[1:]):
        assert all(torch.allclose(now[name], then[name], atol=1e-13, rtol=0) for name in now)  # round-off


@pytest.mark.parametrize(
    "rule", [Microcircuit(), Microcircuit(top_down="transposed"), Microcircuit(start="random", baseline="none")]
)
def test_it_keeps_the_contract(rule):
    assert rule.claim == ("descent" if rule.top_down == "transposed" else "none")
    report = check_rule(rule)
    assert report.passed, str(report)


def test_it_learns_while_its_lateral_weights_follow():
    """Exclusive or of signs in two hidden layers; a linear read-out of the input is right half of the time."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(100, 2, generator=rng)
    y = (x[:, 0] * x[:, 1] > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))
    rule = rules.LearningRule(
        rules.OBJECTIVES["ce_mean"](), Microcircuit(tolerance=1e-4), rules.make("bptt", lr=5e-3).plasticity
    )
    trainer = rules.Trainer(model, rule)
    before = trainer.evaluate([(x, y)])
    list(trainer.fit([(x, y)], epochs=200))
    after = trainer.evaluate([(x, y)])
    assert after["accuracy"] > 0.9 > 0.7 > before["accuracy"]


def test_costs_are_those_of_the_sweeps():
    found = credit(Microcircuit(), chain(scale=0.5), batch())
    sweeps, upper = int(found.info["sweeps"]), 7 * (30 + 15)
    assert (found.cost.forwards, found.cost.backwards, found.cost.layer_evaluations) == (1, 0, 3 + 2 * sweeps)
    assert found.cost.synaptic_operations == 7 * 24 + upper + 4 * sweeps * upper
    assert found.cost.weight_operations == 7 * 24 + 3 * upper


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nudge": 0.0}, "nudge=0.0: give a number above 0"),
        ({"tolerance": 0.0}, "tolerance=0.0: give a number above 0"),
        ({"rate": 1.5}, "rate=1.5: give a number from 0 to 1"),
        ({"steps": 0}, "steps=0: give a number of sweeps, at least 1"),
        ({"start": "randm"}, "unknown start 'randm'; nearest: 'random'; valid: self_predicting, random"),
        ({"baseline": "mean"}, "unknown baseline 'mean'; .*valid: free, none"),
        ({"top_down": "transpose"}, "unknown top_down 'transpose'; nearest: 'transposed'; valid: random, transposed"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Microcircuit(**options)


def test_what_it_cannot_learn_is_refused():
    with pytest.raises(ValueError, match="Microcircuit knows the error at the output alone, and .* needs"):
        rules.LearningRule(rules.make("tcl").objective, Microcircuit(), SGD(0.1))
    with pytest.raises(
        NotSettled,
        match=r"the state still moves after 2 steps, .*: give smaller weights \(gain, an option of the model",
    ):
        credit(Microcircuit(steps=2, start="random"), chain(), batch())
    rule = Microcircuit()
    state = rule.init(chain(), torch.Generator())
    with pytest.raises(
        ValueError, match=r"along '2.weight' in Microcircuit is \(5, 6\), and that weight is now \(7, 6"
    ):
        rule.assign(chain((4, 6, 7, 3)), Silent(), batch(), state, torch.Generator())
    with pytest.raises(ValueError, match=r"along '2.weight' in Microcircuit is missing, and that weight is now \(5, 6"):
        rule.assign(chain(), Silent(), batch(), state._replace(back={}), torch.Generator())
