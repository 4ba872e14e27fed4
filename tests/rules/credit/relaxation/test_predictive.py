"""Predictive coding beside backpropagation: equal with fixed predictions, near it with free ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.relaxation import NotSettled, PredictiveCoding
from tests.rules.credit.relaxation.nets import ACTIVE, apart, assign, backpropagated, batch, chain, flat, slope


@pytest.mark.parametrize("active", ACTIVE)
@pytest.mark.parametrize("rate", [None, 0.5])
def test_fixed_predictions_at_rest_are_backpropagation(active, rate):
    """P7.8, to 1e-12: the tolerance is that of the relaxation, and one sum of some ten terms."""
    model, seen = chain(active=ACTIVE[active]), batch()
    credit = PredictiveCoding("fixed", rate=rate, tolerance=1e-14)
    assert apart(assign(credit, model, seen).grads, backpropagated(model, seen)) < 1e-12


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_fixed_predictions_rest_after_as_many_steps_as_hidden_layers(sizes, samples, seed):
    """P7.8 in any chain: with rate 1 the error arrives one layer further down with each step."""
    model, seen = chain(sizes, seed=seed), batch(sizes[0], sizes[-1], samples)
    credit = assign(PredictiveCoding("fixed"), model, seen)
    wanted = backpropagated(model, seen)
    assert torch.allclose(flat(credit.grads), flat(wanted), rtol=1e-12, atol=1e-15)
    assert credit.info["relaxation_steps"] <= len(sizes) - 1


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.integers(1, 4), st.booleans(), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_zil_is_backpropagation_to_the_bit(sizes, samples, timed, seed):
    """P7.10: the same products of the same numbers."""
    model, seen = chain(sizes, seed=seed), batch(sizes[0], sizes[-1], samples, 3 if timed else None)
    credit, wanted = assign(PredictiveCoding("zil"), model, seen), backpropagated(model, seen)
    assert credit.grads.keys() == wanted.keys()
    if timed:  # autograd sums weights over steps in another order
        assert torch.allclose(flat(credit.grads), flat(wanted), rtol=1e-12, atol=1e-15)
    else:
        assert torch.equal(flat(credit.grads), flat(wanted))


def test_free_predictions_approach_backpropagation_linearly():
    """P7.9: the relative error shrinks with the weight of the output's error, slope 1 +- 0.1."""
    model, seen = chain(), batch()
    wanted, betas = backpropagated(model, seen), [0.02, 0.01, 0.005, 0.0025]
    errors = [
        apart(assign(PredictiveCoding("free", beta=b, tolerance=1e-11, steps=5000), model, seen).grads, wanted)
        for b in betas
    ]
    assert slope(betas, errors) == pytest.approx(1, abs=0.1)
    assert errors[-1] < 0.01


def test_free_predictions_are_the_gradient_of_the_energy_at_rest():
    """dF/dW at the minimum of F = 1/2 sum eps^2 + n loss, by central differences of a minimum found by L-BFGS."""
    model, seen = chain((3, 4, 2)), batch(3, 2, 5)
    credit = assign(PredictiveCoding("free", tolerance=1e-12, steps=5000), model, seen)
    loss = rules.OBJECTIVES["ce_mean"]()

    def energy(of):
        first, active, last = of
        mu = of[:2](seen.x).detach().requires_grad_()
        found = torch.optim.LBFGS(
            [mu], max_iter=500, tolerance_grad=1e-14, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def value():
            return ((mu - active(first(seen.x))) ** 2).sum() / 2 + 5 * loss(rules.Run(last(mu)[None]), seen)

        def closure():
            found.zero_grad()
            total = value()
            total.backward(inputs=[mu])
            return total

        found.step(closure)
        return float(value().detach()) / 5

    for name, p in model.named_parameters():
        at, kept = p.view(-1), float(p.detach().view(-1)[0])
        ends = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                at[0] = kept + step
            ends.append(energy(model))
        with torch.no_grad():
            at[0] = kept
        # 1e-8 is the square of the step; round-off is 1e-12
        assert float(credit.grads[name].view(-1)[0]) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-7), name


def test_a_sample_settles_alike_in_any_batch():
    model, seen = chain(), batch(samples=6)
    credit = PredictiveCoding("free", tolerance=1e-10, steps=5000)
    whole = assign(credit, model, seen).grads
    parts = [assign(credit, model, rules.Batch(seen.x[rows], seen.y[rows])).grads for rows in (slice(3), slice(3, 6))]
    mean = {name: (parts[0][name] + parts[1][name]) / 2 for name in whole}
    assert apart(mean, whole) < 1e-8


@pytest.mark.parametrize("predictions", ["fixed", "free", "zil"])
def test_it_keeps_the_contract(predictions):
    report = check_rule(PredictiveCoding(predictions))
    assert report.passed, str(report)


def test_costs_are_those_of_the_products():
    model, seen = chain((4, 6, 5, 3)), batch(samples=7)
    forward, upper = 7 * (24 + 30 + 15), 7 * (30 + 15)
    zil, fixed = (assign(PredictiveCoding(kind), model, seen).cost for kind in ("zil", "fixed"))
    assert (zil.forwards, zil.backwards, zil.layer_evaluations) == (1, 0, 3)
    assert (zil.synaptic_operations, zil.error_operations, zil.weight_operations) == (forward, upper, forward)
    assert fixed.synaptic_operations == forward
    assert fixed.error_operations == 3 * upper  # two steps down, and one that finds the errors at rest
    free = assign(PredictiveCoding("free"), model, seen)
    steps = int(free.info["relaxation_steps"])
    assert free.cost.layer_evaluations == 3 + 2 * steps
    assert free.cost.synaptic_operations == forward + steps * upper
    assert free.cost.error_operations == steps * upper


def test_frozen_weights_get_no_credit_and_cost_nothing():
    model, seen = chain((4, 6, 3)), batch()
    model[0].requires_grad_(False)
    credit = assign(PredictiveCoding(), model, seen)
    assert credit.grads.keys() == {"2.weight", "2.bias"}
    assert credit.cost.weight_operations == 7 * 18


def test_images_are_flattened_and_activations_may_work_in_place():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)).double()
    seen = batch(6)
    seen = seen._replace(x=seen.x.reshape(7, 1, 2, 3))
    assert apart(assign(PredictiveCoding(), model, seen).grads, backpropagated(model, seen)) < 1e-12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"predictions": "fix"}, "unknown predictions 'fix'; nearest: 'fixed'; valid: fixed, free, zil"),
        ({"rate": 0.0}, "rate=0.0: give a share of each step, above 0 and at most 1, or None"),
        ({"rate": 1.5}, "rate=1.5: give a share"),
        ({"beta": 0.0}, "beta=0.0: give a number above 0"),
        ({"tolerance": -1.0}, "tolerance=-1.0: give a number above 0"),
        ({"steps": 0}, "steps=0: give a number of steps, at least 1"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        PredictiveCoding(**options)


def test_errors_that_do_not_rest_raise_with_the_residual():
    with pytest.raises(
        NotSettled, match=r"still moves after 2 steps, by \d\.\d+ of its scale, and tolerance=0.0001: give"
    ):
        assign(PredictiveCoding("fixed", rate=0.1, steps=2), chain(), batch())
    with pytest.raises(NotSettled, match="grew beyond all numbers in .* a smaller rate where the change grows"):
        assign(PredictiveCoding("free", rate=1.0, beta=1e-3), chain(active=nn.Identity, scale=50.0), batch())


def test_an_objective_of_hidden_layers_is_refused():
    objective = rules.make("tcl").objective
    with pytest.raises(ValueError, match="PredictiveCoding knows the error at the output alone, and .* needs"):
        rules.LearningRule(objective, PredictiveCoding(), rules.make("bptt").plasticity)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(4, 3)),
            "layer 0 is Conv1d, neither a dense layer nor",
        ),
        (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), "layer 1 is LayerNorm, neither"),
        (nn.Sequential(nn.Tanh()), r"none of its layers \(Tanh\) is dense"),
        (nn.GRU(4, 3), r"none of its layers \(none\) is dense"),
    ],
)
def test_a_model_without_a_chain_is_refused_by_name(model, said):
    with pytest.raises(rules.MissingNeed, match=f"chain: .*{said}"):
        rules.Trainer(
            model, rules.LearningRule(rules.OBJECTIVES["ce_mean"](), PredictiveCoding(), rules.make("bptt").plasticity)
        )
