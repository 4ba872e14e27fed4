"""Soft thresholds: one step is one of ISTA, thresholds follow the rate to their end, closed forms are right."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.plasticity import SGD, SoftThreshold
from rules.plasticity.projected import lats, pgh, s_lats, soft
from rules.recipes.optimizers import MOMENTUM
from tests.rules.plasticity.projected.small import PLAIN, batches, stepped, trainer, weight


@dataclass(frozen=True)
class LinearInTime(SoftThreshold):
    """A threshold that rises alike at every update, whatever the rate."""

    def advance(self, memories, latents, rates):
        return [{**m, "threshold": m["threshold"] + self.final / self.steps} for m in memories]


def thresholds(plasticity, factor, count):
    """The threshold after each of so many updates, at rates along a schedule."""
    p = weight(2, 2)
    optimizer = plasticity.informed([("w", p)], factor, {"w": p})
    found, start = [], optimizer.param_groups[0]["lr"]
    for n in range(count):
        optimizer.param_groups[0]["lr"] = (1.0 if factor is None else factor(n)) * start
        stepped(optimizer, p, torch.zeros(2, 2))
        found.append(optimizer.state[p]["memory"]["threshold"])
    return found


@given(
    theta=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20),
    d=st.floats(0, 5, width=32),
)
@settings(deadline=None)
def test_the_soft_threshold_is_that_of_the_equation(theta, d):
    given_ = torch.tensor(theta, dtype=torch.float64)
    expected = torch.sign(given_) * (given_.abs() - d).clamp_min(0)
    assert torch.equal(soft(given_, d), expected)
    assert torch.equal(soft(given_, d), soft(given_, d, out=torch.full_like(given_, torch.nan)))


@given(seed=st.integers(0, 1000), d=st.floats(0, 0.1), mu=st.floats(1e-3, 0.5), rate=st.floats(1e-3, 0.2))
@settings(deadline=None, max_examples=50)
def test_one_step_is_one_of_ista_on_active_weights(seed, d, mu, rate):
    """S_{d + eta mu}(theta - eta g) = S_{eta mu}(S_d(theta) - eta g), to 1e-6; inactive weights may differ."""
    p = weight(20, 20, seed=seed, size=0.2, dtype=torch.float64)
    optimizer = SoftThreshold(mu=mu, inner=SGD(rate))([p])
    state = optimizer.state[p]
    state["memory"] = {**state["memory"], "threshold": d, "sum": d / mu}
    before = soft(state["latent"], d).clone()
    gradient = weight(20, 20, seed=seed + 1, size=1.0, dtype=torch.float64).detach()
    stepped(optimizer, p, gradient)
    ista = soft(before - rate * gradient, rate * mu)
    active = (before != 0) & (ista != 0) & (before.sign() == ista.sign())
    assert active.any()
    assert torch.allclose(p[active], ista[active], atol=1e-6, rtol=0)


def test_pruned_weights_keep_learning_but_for_those_at_exactly_zero():
    p = nn.Parameter(torch.tensor([[0.05, 0.0, -0.5]]))
    optimizer = SoftThreshold(mu=1.0, inner=PLAIN)([p])
    stepped(optimizer, p, torch.full((1, 3), -1.0))  # d rises to 0.1 after the step
    assert torch.allclose(optimizer.held(p), torch.tensor([[0.15, 0.0, -0.4]]))
    assert torch.allclose(p, torch.tensor([[0.05, 0.0, -0.3]]))


def test_the_threshold_is_raised_after_the_update_by_mu_times_its_rate():
    factor = rules.StepDecay(2, gamma=0.5).factor
    assert thresholds(SoftThreshold(mu=0.5, lr=0.1), factor, 5) == pytest.approx([0.05, 0.1, 0.125, 0.15, 0.1625])


def test_weight_decay_acts_on_the_dense_weights():
    p = nn.Parameter(torch.tensor([[1.0]]))
    optimizer = SoftThreshold(mu=5.0, inner=SGD(0.1, weight_decay=0.5))([p])
    for _ in range(2):
        stepped(optimizer, p, torch.zeros(1, 1))
    assert float(optimizer.held(p)) == pytest.approx(0.95**2)


@pytest.mark.parametrize("factor", [None, rules.Cosine(1000, warm_up=50).factor, rules.StepDecay(300, 0.3).factor])
def test_the_threshold_ends_at_exactly_its_end_under_any_schedule(factor):
    found = thresholds(SoftThreshold(final=0.07, steps=1000, lr=0.03), factor, 1005)
    assert found[999:] == [0.07] * 6
    assert all(a <= b for a, b in zip(found, found[1:]))
    assert 0 < found[998] <= 0.07
    assert found[0] < 1e-3  # and does not jump there
    assert max(b - a for a, b in zip(found, found[1:])) < 3 * 0.07 / 1000 + 1e-6 or factor is not None


@pytest.mark.parametrize("size", [0.5, 2.0])
def test_at_other_rates_than_planned_it_is_at_most_its_end_and_reaches_it_with_the_last_update(size):
    p = weight(2, 2)
    optimizer = SoftThreshold(final=0.1, steps=10, lr=1.0)([p])
    optimizer.param_groups[0]["lr"] = size
    found = []
    for _ in range(12):
        stepped(optimizer, p, torch.zeros(2, 2))
        found.append(optimizer.state[p]["memory"]["threshold"])
    expected = [min(0.1, 0.01 * size * n) for n in range(1, 10)]
    assert found == pytest.approx([*expected, 0.1, 0.1, 0.1])
    assert found[-3:] == [0.1] * 3


def test_a_group_that_does_not_learn_is_not_pruned():
    p, q = weight(2, 2), weight(2, 2, seed=1)
    before = p.detach().clone()
    optimizer = SoftThreshold(final=10.0, steps=2, lr=0.1)([{"params": [p], "lr": 0.0}, {"params": [q]}])
    for _ in range(2):
        stepped(optimizer, q, torch.zeros(2, 2))
    assert torch.equal(p, before)
    assert not q.any()


def test_under_a_cosine_it_follows_the_closed_form():
    """S-LATS to 1e-3 at a thousand updates."""
    found = thresholds(SoftThreshold(final=1.0, steps=1000), rules.Cosine(1000).factor, 1000)
    assert max(abs(d - s_lats((n + 1) / 1000)) for n, d in enumerate(found)) <= 1e-3


def test_under_a_cosine_of_epochs_it_follows_the_closed_form():
    """LATS: the rate is constant in each of N epochs, and the sum of 1 + cos(pi n / N) is N + 1."""
    epochs, each = 20, 50
    count = epochs * each

    def factor(n):
        return (1 + math.cos(math.pi * (n // each) / epochs)) / 2

    found = thresholds(SoftThreshold(final=1.0, steps=count), factor, count)
    for n, d in enumerate(found):
        assert d == pytest.approx(lats((n + 1) / count, epochs), abs=1e-9)


@pytest.mark.parametrize("beta", [1e-3, 0.1, 0.9999999, 1.0, 3.0])
def test_homotopy_is_the_integral(beta):
    """PGH against quadrature by the midpoint rule, to 1e-5."""
    cells = 20_000
    middles = [(n + 0.5) / cells for n in range(cells)]
    parts = [beta**u * (1 + math.cos(math.pi * u)) for u in middles]
    whole, part = sum(parts), 0.0
    for n in range(cells):
        if n % 500 == 0:
            assert pgh(n / cells, beta) == pytest.approx(part / whole, abs=1e-5)
        part += parts[n]


@pytest.mark.parametrize("form", [s_lats, lambda x: lats(x, 7), lambda x: pgh(x, 0.01), lambda x: pgh(x, 5.0)])
def test_closed_forms_rise_from_zero_to_one(form):
    found = [form(n / 500) for n in range(501)]
    assert found[0] == pytest.approx(0.0, abs=1e-15)
    assert found[-1] == 1.0
    assert all(a <= b for a, b in zip(found, found[1:]))


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({"schedule": "s_lats"}, s_lats),
        ({"schedule": "lats", "epochs": 5}, lambda x: lats(x, 5)),
        ({"schedule": "pgh", "beta": 0.1}, lambda x: pgh(x, 0.1)),
    ],
)
def test_closed_forms_can_be_chosen(options, form):
    found = thresholds(SoftThreshold(final=0.4, steps=100, **options), None, 100)
    assert found == pytest.approx([0.4 * form((n + 1) / 100) for n in range(100)])


@pytest.mark.parametrize("schedule", ["rate", "s_lats"])
def test_a_late_start_and_an_early_stop_compress_the_schedule(schedule):
    found = thresholds(SoftThreshold(final=0.4, steps=100, start=0.2, stop=0.7, schedule=schedule), None, 100)
    assert found[:20] == [0.0] * 20
    assert found[69:] == [0.4] * 31
    assert found[44] == pytest.approx(0.2 if schedule == "rate" else 0.4 * s_lats(0.5))


def test_pruning_at_initialisation_shows_what_was_initialised_and_does_not_move_its_threshold():
    p = weight(5, 5)
    before = p.detach().clone()
    optimizer = SoftThreshold(final=0.3, schedule="fixed", inner=PLAIN)([p])
    assert torch.allclose(p, before, atol=1e-7)
    assert torch.allclose(optimizer.held(p).abs(), before.abs() + 0.3)
    stepped(optimizer, p, before.sign() * 3)
    assert optimizer.state[p]["memory"]["threshold"] == 0.3
    assert not p.any()  # each magnitude fell by 0.3, to below the threshold


def test_the_fixed_point_is_that_of_ista():
    """On a lasso with a constant rate: the same support, and a loss within 2 %; not with a threshold linear in time."""
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(60, 20, generator=rng, dtype=torch.float64)
    truth = torch.where(torch.arange(20) < 5, 1.0, 0.0).double()
    b = a @ truth + 0.1 * torch.randn(60, generator=rng, dtype=torch.float64)
    rate, mu, steps = 0.1, 0.2, 400

    def gradient(w):
        return a.T @ (a @ w - b) / 60

    def loss(w):
        return float((a @ w - b).square().sum() / 120 + mu * w.abs().sum())

    w = torch.zeros(20, dtype=torch.float64)
    for _ in range(steps):
        w = soft(w - rate * gradient(w), rate * mu)
    start = 0.01 * torch.randn(1, 20, generator=rng, dtype=torch.float64)

    def learned(factor, plasticity):
        p = nn.Parameter(start.clone())
        optimizer = plasticity.informed([("w", p)], factor, {"w": p})
        for n in range(steps):
            optimizer.param_groups[0]["lr"] = rate * (1.0 if factor is None else factor(n))
            stepped(optimizer, p, gradient(p.detach()[0])[None])
        return p.detach()[0]

    ours = learned(None, SoftThreshold(final=mu * rate * steps, steps=steps, inner=SGD(rate)))
    assert torch.equal(ours != 0, w != 0)
    assert loss(ours) == pytest.approx(loss(w), rel=0.02)
    cosine = rules.Cosine(steps).factor
    total = sum(cosine(n) for n in range(steps)) * rate
    theirs = learned(cosine, LinearInTime(final=mu * total, steps=steps, inner=SGD(rate)))
    assert loss(theirs) > 1.02 * loss(w)


def test_the_trainer_hands_over_its_schedule():
    made = trainer(SoftThreshold(final=0.05, steps=30, lr=0.05), schedule=rules.Cosine(30, warm_up=3))
    rates = []
    for batch in batches(30):
        made.step(batch)
        rates.append(made.optimizer.state[made.parameters["2.weight"]]["memory"]["threshold"])
    factors = [rules.Cosine(30, warm_up=3).factor(n) for n in range(30)]
    assert rates[-1] == 0.05
    assert rates == pytest.approx([0.05 * sum(factors[: n + 1]) / sum(factors) for n in range(30)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mu": 0.1, "final": 0.1}, "mu=0.1 and final=0.1: each gives the other"),
        ({"mu": -0.1}, "mu=-0.1: give a number of at least 0"),
        ({"final": 0.1, "steps": 0}, "steps=0: give a number of at least 1"),
        ({"schedule": "s_lats"}, "schedule='s_lats' needs the threshold at the end: give final"),
        ({"final": 0.1, "schedule": "lats"}, "schedule='lats' changes at every epoch: give epochs"),
        ({"final": 0.1, "schedule": "pgh", "beta": 0.0}, "beta=0.0: give the scale of the penalty at the end, above 0"),
        ({"final": 0.1, "schedule": "pgh"}, "beta=0.0: give"),
        ({"final": 0.1, "start": 0.5, "stop": 0.5}, "start=0.5, stop=0.5: give two shares from 0 to 1"),
        ({"final": 0.1, "schedule": "s-lats"}, "unknown schedule 's-lats'; nearest: 's_lats'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SoftThreshold(**options)


@pytest.mark.parametrize("options", [{"final": 0.1}, {"mu": 0.1, "start": 0.2}, {"final": 0.1, "schedule": "s_lats"}])
def test_a_schedule_without_a_known_length_is_refused_when_it_is_used(options):
    with pytest.raises(ValueError, match=re.escape("depends on the number of updates: give steps, such as steps=1000")):
        trainer(SoftThreshold(**options))
    assert trainer(SoftThreshold(**options).over(10)).optimizer.projection.steps == 10
    assert SoftThreshold(final=0.1, steps=5).over(10).steps == 5


def test_without_a_penalty_and_a_threshold_it_asks_and_says_how_large_weights_are():
    with pytest.raises(ValueError, match=r"give final, .* weights with an rms of 0.5 here, or mu"):
        SoftThreshold()([torch.nn.Parameter(torch.full((2, 2), 0.5))])


def test_the_usual_inner_plasticity_is_the_one_called_sgd():
    """With one momentum, that of the rules with SGD; another is an option."""
    assert SoftThreshold(mu=0.1).recipe() == SoftThreshold(mu=0.1, inner="sgd").recipe() == SGD(1e-2, momentum=0.9)
    assert MOMENTUM["sgd"] == 0.9
    assert SoftThreshold(inner={"name": "sgd", "options": {"momentum": 0.0}}).recipe() == SGD(1e-2)
