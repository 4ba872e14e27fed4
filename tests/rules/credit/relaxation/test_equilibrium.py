"""Equilibrium propagation beside the gradient of the cost at rest, which autograd finds through the relaxation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.relaxation import EquilibriumPropagation, NotSettled
from rules.credit.relaxation.equilibrium import resting
from rules.models.chain import chain_of
from rules.plasticity import SGD, Adam
from tests.rules.credit.relaxation.nets import apart, assign, batch, chain, slope

SETTLED = {"tolerance": 1e-15, "steps": 5000}  # the floor of round-off ends a phase
BETAS = [4e-3, 2e-3, 1e-3, 5e-4]  # larger ones feel the next power, smaller ones round-off


def at_rest(model, seen, objective, sweeps=400):
    """The gradients of the objective at rest, by autograd through sweeps of all layers at once."""
    dense, active = list(model)[::2], list(model)[1::2]
    states = [seen.x.new_zeros(len(seen.x), layer.out_features) for layer in dense]
    for _ in range(sweeps):
        drives = [layer(below) for layer, below in zip(dense, [seen.x, *states])]
        drives = [d + s @ layer.weight for d, s, layer in zip(drives, states[1:], dense[1:])] + drives[-1:]
        states = [f(drive) for f, drive in zip(active, drives)]
    loss = rules.OBJECTIVES[objective]()(rules.Run(states[-1][None]), seen)
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(loss, list(model.parameters()))))


@pytest.mark.parametrize("objective", ["ce_mean", "bit_error"])
@pytest.mark.parametrize(("nudge", "order"), [("one_sided", 1), ("random_sign", 1), ("symmetric", 2)])
def test_the_estimate_approaches_the_gradient_at_rest(objective, nudge, order):
    """P7.6: the relative error falls as beta with one side, as beta squared with both, +- 0.1."""
    model, seen = chain(last=True, scale=0.5), batch()
    wanted = at_rest(model, seen, objective)
    errors = [
        apart(assign(EquilibriumPropagation(nudge, beta, **SETTLED), model, seen, objective).grads, wanted)
        for beta in BETAS
    ]
    assert slope(BETAS, errors) == pytest.approx(order, abs=0.1)
    assert errors[-1] < (1e-2 if order == 1 else 1e-4)


def test_random_signs_are_both_drawn_and_one_of_them_is_the_one_sided_estimate():
    model, seen = chain(last=True, scale=0.5), batch()
    one = assign(EquilibriumPropagation("one_sided"), model, seen).grads
    drawn = [
        apart(assign(EquilibriumPropagation("random_sign"), model, seen, seed=seed).grads, one) for seed in range(9)
    ]
    assert min(drawn) == 0 < max(drawn)


@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=5), st.sampled_from([nn.Tanh, nn.Hardsigmoid]), st.integers(0, 99)
)
@settings(max_examples=20, deadline=None)
def test_at_rest_the_state_does_not_move(sizes, active, seed):
    """P7.7: each state is the activation of its drive, to 1e-10."""
    model, seen = chain(sizes, active, last=True, scale=0.5, seed=seed), batch(sizes[0], sizes[-1])
    found, x, _ = chain_of(model, "", seen)
    states, _ = EquilibriumPropagation(**SETTLED).rest(found, x, resting(found, x))
    for number, link in enumerate(found.links):
        drive = link.linear([x, *states][number])
        if number + 1 < len(states):
            drive = drive + states[number + 1] @ found.links[number + 1].weight
        assert float((link.fire(drive) - states[number]).detach().norm()) < 1e-10


@given(st.integers(0, 99), st.floats(0.1, 5))
@settings(max_examples=15, deadline=None)
def test_the_free_phase_never_lowers_what_it_maximises(seed, scale):
    """Phi - sum_l G(s_l), with G' the inverse of tanh, whatever the weights."""
    model, seen = chain(last=True, scale=scale, seed=seed), batch()
    found, x, _ = chain_of(model, "", seen)

    def worth(states):
        phi = sum((s * link.linear(below)).sum() for s, link, below in zip(states, found.links, [x, *states]))
        inverse = [
            s * torch.atanh(s) + torch.log1p(-s * s) / 2 for s in (s.clamp(-1 + 1e-15, 1 - 1e-15) for s in states)
        ]
        return float(phi - sum(each.sum() for each in inverse))

    states, values = resting(found, x), []
    for _ in range(6):
        states = once(found, x, states)
        values.append(worth(states))
    assert all(b >= a - 1e-9 * abs(a) for a, b in zip(values, values[1:]))  # round-off of some hundred terms


def once(found, x, states):
    """The states after one sweep, which a tolerance that all movement meets ends."""
    return EquilibriumPropagation(steps=1, tolerance=1e9).rest(found, x, states)[0]


@pytest.mark.parametrize("nudge", ["one_sided", "symmetric", "random_sign"])
def test_it_keeps_the_contract(nudge):
    report = check_rule(EquilibriumPropagation(nudge))
    assert report.passed, str(report)


def test_it_learns_and_is_evaluated_at_rest():
    """Where the classes are told apart by the network that settles; the forward pass is another function."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randn(60, 4, generator=rng) * 0.3 + 2 * torch.eye(3, 4)[y]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Hardsigmoid(), nn.Linear(8, 3), nn.Hardsigmoid())
    rule = rules.LearningRule(rules.OBJECTIVES["bit_error"](), EquilibriumPropagation(), Adam(0.03))
    trainer = rules.Trainer(model, rule)
    before = trainer.evaluate([(x, y)])
    list(trainer.fit([(x, y)], epochs=40))
    after = trainer.evaluate([(x, y)])
    assert after["accuracy"] > 0.9 > before["accuracy"]
    settled = rule.credit.runs(model)(rules.Batch(x, y))
    assert after["loss"] == pytest.approx(float(rule.objective(settled, rules.Batch(x, y))), rel=1e-6)
    assert not torch.allclose(settled.output[0], model(x), atol=0.01)


def test_costs_are_those_of_the_sweeps():
    model, seen = chain(last=True, scale=0.5), batch(samples=7)
    credit = assign(EquilibriumPropagation("one_sided"), model, seen)
    sweeps = int(credit.info["sweeps"])
    first, upper = 7 * 24, 7 * (30 + 15)
    cost = credit.cost
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (1, 0, 3 + 2 * (sweeps - 1))
    assert cost.synaptic_operations == 2 * first + sweeps * 2 * upper  # the input's drive once in each phase
    assert cost.weight_operations == 2 * (first + upper)
    assert cost.error_operations == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"nudge": "two_sided"},
            "unknown nudge 'two_sided'; nearest: 'one_sided'; valid: one_sided, symmetric, random",
        ),
        ({"beta": 0.0}, "beta=0.0: give a number above 0"),
        ({"tolerance": 0.0}, "tolerance=0.0: give a number above 0"),
        ({"steps": 0}, "steps=0: give a number of sweeps, at least 1"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        EquilibriumPropagation(**options)


def test_a_phase_that_does_not_rest_raises_with_the_residual():
    with pytest.raises(NotSettled, match=r"still moves after 2 steps, by .* bounded activations"):
        assign(EquilibriumPropagation(steps=2), chain(last=True), batch())
    with pytest.raises(NotSettled, match="grew beyond all numbers in .* bounded activations"):
        assign(EquilibriumPropagation(), chain((4, 6, 6, 6, 3), nn.Identity, scale=50.0), batch())


def test_an_objective_of_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="EquilibriumPropagation knows the error at the output alone, and .* needs"):
        rules.LearningRule(rules.make("tcl").objective, EquilibriumPropagation(), SGD(0.1))
