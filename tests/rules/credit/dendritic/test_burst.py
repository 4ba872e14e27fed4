"""Burst-dependent plasticity beside feedback alignment and backpropagation, and its limits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.dendritic import Burst
from rules.credit.dendritic.burst import Bursting, Spikes
from rules.plasticity import SGD
from tests.rules.credit.relaxation.nets import apart, backpropagated, batch, chain, slope

BETAS = [4e-2, 2e-2, 1e-2, 5e-3]  # larger ones feel the next power
SIGNALS = [4e-2, 2e-2, 1e-2, 5e-3]


def credit(rule, model, seen, objective="ce_mean", seed=3):
    state = rule.init(model, torch.Generator().manual_seed(seed))
    objective = rules.OBJECTIVES[objective]() if isinstance(objective, str) else objective
    return rule.assign(model, objective, seen, state, torch.Generator().manual_seed(seed))


def aligned(model, seen, feedback, objective="ce_mean"):
    """Feedback alignment by autograd, a layer at a time: f' (B delta) in place of f' (W^T delta)."""
    pre, drives, outs = [seen.x], [], []
    parts = [*model, nn.Identity()]
    links = [(layer, after) for layer, after in zip(parts, parts[1:]) if type(layer) is nn.Linear]
    for layer, active in links:
        drive = layer(pre[-1]).detach().requires_grad_()
        drives.append(drive)
        outs.append(active(drive))
        pre.append(outs[-1].detach())
    last = outs[-1].detach().requires_grad_()
    (error,) = torch.autograd.grad(rules.OBJECTIVES[objective]()(rules.Run(last[None]), seen), last)
    found = {}
    for number in reversed(range(len(links))):
        (delta,) = torch.autograd.grad(outs[number], drives[number], error, allow_unused=True)
        place = next(name for name, part in model.named_children() if part is links[number][0])
        found |= {f"{place}.weight": delta.T @ pre[number], f"{place}.bias": delta.sum(0)}
        error = delta @ feedback[f"{place}.weight"] if number else None
    return found


@pytest.mark.parametrize("active", [nn.Sigmoid, nn.Tanh, nn.Softplus])
@pytest.mark.parametrize(("free", "order"), [(0.3, 1), (0.5, 2)])
def test_for_small_signals_it_is_feedback_alignment(active, free, order):
    """P9.15 through all layers: what is left falls as beta, and as beta squared where the sigmoid is odd."""
    model, seen = chain(active=active), batch()
    state = Burst().init(model, torch.Generator().manual_seed(3))
    wanted = aligned(model, seen, state.down)
    errors = [apart(credit(Burst(beta, free), model, seen).grads, wanted) for beta in BETAS]
    assert slope(BETAS, errors) == pytest.approx(order, abs=0.15)
    assert errors[-1] < 2e-2


@pytest.mark.parametrize("apical", ["plain", "slope"])
def test_bursts_beyond_the_free_ones_are_events_times_slope_times_what_arrives(apical):
    """P9.15: b - b_free = e p'(0) u + O(u^2), and the remainder is of second order where free is not a half."""
    rule, rng = Burst(2.0, 0.3, apical), torch.Generator().manual_seed(0)
    e, slopes, arriving = (torch.rand(5, 4, generator=rng, dtype=torch.float64) + 0.1 for _ in range(3))
    p = lambda u: torch.sigmoid(2.0 * u + torch.logit(torch.tensor(0.3, dtype=torch.float64)))  # noqa: E731
    steep = 2.0 * 0.3 * 0.7
    left = []
    for size in SIGNALS:
        u = size * arriving if apical == "plain" else slopes / e * size * arriving
        bursts = steep * rule.bursts(e, slopes, size * arriving)
        assert torch.allclose(bursts, e * (p(u) - 0.3), atol=1e-14, rtol=0)  # round-off of a difference
        left.append(float((bursts - e * steep * u).norm()))
    assert slope(SIGNALS, left) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("objective", ["ce_mean", "mse"])
def test_through_the_transposed_weights_it_approaches_the_gradient(objective):
    model, seen = chain(), batch()
    if objective == "mse":
        seen = seen._replace(y=torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))
    found = credit(Burst(1e-6, top_down="transposed"), model, seen, objective).grads
    assert apart(found, backpropagated(model, seen, objective)) < 1e-9  # what is left falls as beta squared


def test_it_is_the_rule_of_feedback_with_the_same_matrices():
    model, seen = chain(active=nn.Sigmoid), batch()
    other = rules.Feedback(rules.BPTT(), "fa").located(model, seen)
    held = other.init(model, torch.Generator().manual_seed(3))
    known = {f"{name}.weight": matrix for name, matrix in held.matrices.items()}
    objective = rules.OBJECTIVES["ce_mean"]()
    wanted = other.assign(model, objective, seen, held, torch.Generator()).grads
    found = Burst(1e-5).assign(model, objective, seen, Bursting(known, {}), torch.Generator()).grads
    assert apart(found, wanted) < 1e-9


class Silent(rules.Objective):
    """A loss that is the same for all outputs: no teaching."""

    def __call__(self, run, batch):
        return (0 * run.output).sum()


@given(st.sampled_from([nn.Sigmoid, nn.ReLU, nn.Tanh]), st.sampled_from(["slope", "plain"]), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_without_a_teacher_nothing_changes(active, apical, seed):
    """P9.16: every burst is a free one."""
    model, seen = chain(active=active, seed=seed), batch()
    grads = credit(Burst(apical=apical), model, seen, Silent()).grads
    assert all(float(g.abs().max()) == 0 for g in grads.values())


@given(st.floats(1e-2, 1e3), st.floats(0.05, 0.95), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_no_cell_has_more_bursts_than_events(size, free, seed):
    rng = torch.Generator().manual_seed(seed)
    e, slopes = (torch.rand(5, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    arriving = size * torch.randn(5, 4, generator=rng, dtype=torch.float64)
    rule = Burst(free=free)
    bursts = free * (1 - free) * rule.bursts(e, slopes, arriving) + free * e
    assert bool(((bursts >= -1e-15) & (bursts <= e + 1e-15)).all())


def test_cells_without_events_have_no_bursts():
    model, seen = chain(active=nn.ReLU), batch()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    found = credit(Burst(), model, seen).grads
    assert float(found["0.weight"].abs().max()) == 0
    assert all(bool(g.isfinite().all()) for g in found.values())


def test_a_sample_is_taught_alike_in_any_batch():
    """Saturation does not depend on how many samples share a mean."""
    model, seen = chain(), batch()
    alone = [credit(Burst(), model, rules.Batch(seen.x[i : i + 1], seen.y[i : i + 1])).grads for i in range(7)]
    mean = {name: sum(each[name] for each in alone) / 7 for name in alone[0]}
    assert apart(credit(Burst(), model, seen).grads, mean) < 1e-14


@pytest.mark.parametrize("rule", [Burst(), Burst(apical="plain", free=0.3), Burst(top_down="transposed")])
def test_it_keeps_the_contract(rule):
    assert rule.claim == ("descent" if rule.top_down == "transposed" else "none")
    report = check_rule(rule)
    assert report.passed, str(report)


def test_costs_are_counted():
    model, seen = chain(), batch()
    cost = credit(Burst(), model, seen).cost
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (1, 0, 3)
    assert cost.synaptic_operations == cost.weight_operations == 7 * (24 + 30 + 15)
    assert cost.error_operations == 7 * (30 + 15)


def test_the_matrices_are_shown_as_feedback():
    rule, model = Burst(), chain()
    state = rule.init(model, torch.Generator().manual_seed(0))
    assert {name: tuple(b.shape) for name, b in rule.feedback(state).items()} == {
        "2.weight": (5, 6),
        "4.weight": (3, 5),
    }
    assert Burst(top_down="transposed").init(model, torch.Generator()).down == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beta": 0.0}, "beta=0.0: give a number above 0"),
        ({"free": 1.0}, "free=1.0: give a probability between 0 and 1, neither of them"),
        ({"apical": "flat"}, "unknown apical 'flat'; nearest: 'plain'; valid: slope, plain"),
        ({"top_down": "transpose"}, "unknown top_down 'transpose'; nearest: 'transposed'; valid: random, transposed"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Burst(**options)


def test_what_it_cannot_learn_is_refused():
    with pytest.raises(ValueError, match="Burst knows the error at the output alone, and .* needs"):
        rules.LearningRule(rules.make("tcl").objective, Burst(), SGD(0.1))
    state = Burst().init(chain(), torch.Generator())
    with pytest.raises(
        ValueError, match=r"along '2.weight' in Burst is \(5, 6\), and that weight is now \(7, 6\): the m"
    ):
        Burst().assign(chain((4, 6, 7, 3)), rules.OBJECTIVES["ce_mean"](), batch(), state, torch.Generator())
    with pytest.raises(ValueError, match=r"along '2.weight' in Burst is missing, and that weight is now \(5, 6\)"):
        Burst().assign(chain(), rules.OBJECTIVES["ce_mean"](), batch(), Bursting({}, {}), torch.Generator())


def test_it_learns_what_a_read_out_alone_does_not():
    """Exclusive or of signs, in two hidden layers; a linear read-out of the input is right half of the time."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=rng)
    y = (x[:, 0] * x[:, 1] > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 2))
    trainer = rules.Trainer(
        model, rules.LearningRule(rules.OBJECTIVES["ce_mean"](), Burst(), rules.make("bptt").plasticity)
    )
    before = trainer.evaluate([(x, y)])
    list(trainer.fit([(x, y)], epochs=400))
    after = trainer.evaluate([(x, y)])
    assert after["accuracy"] > 0.9 > 0.6 > before["accuracy"]
    assert after["loss"] < before["loss"] / 2


def spiking_chain(sizes=(2, 2, 2, 2), active=nn.Sigmoid, samples=1):
    rng = torch.Generator().manual_seed(5)
    x = torch.rand(samples, sizes[0], dtype=torch.float64, generator=rng)
    return chain(sizes, active=active), rules.Batch(x, torch.arange(samples) % sizes[-1])


@pytest.mark.parametrize("active", [nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("apical", ["plain", "slope"])
def test_the_mean_over_all_spikes_is_the_change_by_rates(active, apical, monkeypatch):
    """P9.15 by enumeration: four cells, each silent, with a single spike or with a burst; the weights of 81 patterns."""
    model, seen = spiking_chain(active=active)
    rates, rule = Burst(2.0, 0.3, apical), Burst(2.0, 0.3, apical, steps=1)
    held, mean, total = [], {}, 0.0
    fired = Burst.fired
    monkeypatch.setattr(Burst, "fired", lambda self, *given: held.append(given) or fired(self, *given))
    credit(rule, model, seen)
    chances = []
    for events, told, number, _ in held:
        e = events.abs()
        p = (e * 0.3 + 2.0 * 0.3 * 0.7 * told) / e  # d is the difference of burst rates over p'(0)
        assert bool(((p > 0) & (p < 1)).all())
        chances += [(float(1 - a), float(a * (1 - b)), float(a * b)) for a, b in zip(e[0], p[0])]
        assert number == len(chances) // 2 - 1
    for pattern in itertools.product(range(3), repeat=4):
        drawn = torch.tensor(pattern, dtype=torch.float64).reshape(2, 1, 1, 2)
        spikes = iter([Spikes((each > 0).double(), (each > 1).double()) for each in drawn])
        monkeypatch.setattr(Burst, "fired", lambda *_, spikes=spikes: next(spikes))
        chance = math.prod(chances[cell][what] for cell, what in enumerate(pattern))
        total += chance
        for name, g in credit(rule, model, seen).grads.items():
            mean[name] = mean.get(name, 0.0) + chance * g
    assert total == pytest.approx(1, abs=1e-12)
    assert apart(mean, credit(rates, model, seen).grads) < 1e-12


def test_drawn_spikes_have_that_mean():
    """Of 2000 draws of 3 steps, within five standard errors; and they do vary."""
    model, seen = spiking_chain((4, 6, 5, 3), samples=7)
    wanted = torch.cat([g.flatten() for g in credit(Burst(), model, seen).grads.values()])
    rule = Burst(steps=3)
    state, draw = rule.init(model, torch.Generator().manual_seed(3)), torch.Generator().manual_seed(0)
    objective = rules.OBJECTIVES["ce_mean"]()
    drawn = torch.stack(
        [
            torch.cat([g.flatten() for g in rule.assign(model, objective, seen, state, draw).grads.values()])
            for _ in range(2000)
        ]
    )
    error = drawn.std(0) / 2000**0.5
    moves = error > 0
    assert int((~moves).sum()) == 3  # the last bias, which sees no spikes
    assert bool(((drawn.mean(0) - wanted).abs() <= 5 * error + 1e-12).all())


@pytest.mark.parametrize("average", [0.0, 0.2])
def test_without_a_teacher_the_mean_over_spikes_is_0(average):
    """P9.16: within five standard errors of 300 runs of 5 batches, whose averages move and stay `free` in the mean."""
    model, seen = spiking_chain((3, 4, 2), samples=2)
    rule, draw = Burst(free=0.3, steps=4, average=average), torch.Generator().manual_seed(0)
    found, ends = [], []
    for _ in range(300):
        state = rule.init(model, torch.Generator().manual_seed(3))
        for _ in range(5):
            told = rule.assign(model, Silent(), seen, state, draw)
            state = told.state
        found.append(torch.cat([g.flatten() for g in told.grads.values()]))
        ends.append(state.usual["2.weight"])
    for values, wanted in ((torch.stack(found), 0.0), (torch.stack(ends), 0.3)):
        error = values.std(0) / 300**0.5
        assert bool(((values.mean(0) - wanted).abs() <= 5 * error + 1e-12).all())
    assert (float(torch.stack(ends).std()) > 0.01) == (average > 0)


def test_a_moving_average_takes_away_what_all_samples_are_taught():
    """One sample, the same teacher: with the average the credit of hidden layers goes to 0, without it does not."""
    model, seen = spiking_chain((3, 4, 2))
    left = []
    for average in (0.0, 0.05):
        rule, draw = Burst(steps=200, average=average), torch.Generator().manual_seed(0)
        state, sizes = rule.init(model, torch.Generator().manual_seed(3)), []
        for _ in range(40):
            told = rule.assign(model, rules.OBJECTIVES["ce_mean"](), seen, state, draw)
            state = told.state
            sizes.append(told.grads["0.weight"])
        left.append(float(torch.stack(sizes[10:]).mean(0).norm()))
    assert left[1] < 0.25 * left[0]  # what is left is noise


@pytest.mark.parametrize("rule", [Burst(steps=5), Burst(steps=5, average=0.1, top_down="transposed")])
def test_spikes_keep_the_contract(rule):
    assert (rule.claim, rule.over_processes) == ("none", "draws")
    report = check_rule(rule)
    assert report.passed, str(report)


def test_outputs_that_are_no_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"outputs of hidden layer 0 reach .*, and with steps=2 they are prob.*nn.Sig"):
        credit(Burst(steps=2), chain(active=nn.Softplus, scale=3.0), batch())
    with pytest.raises(ValueError, match="steps=-1: give a number of time steps, or 0 for rates"):
        Burst(steps=-1)
    for options in ({"average": 0.1}, {"average": 1.5, "steps": 2}):
        with pytest.raises(ValueError, match="average=.*, steps=.*: give a share from 0 to 1, above 0 with steps"):
            Burst(**options)


def test_spikes_learn_what_rates_learn():
    """Exclusive or of signs in two hidden layers, whose credit is noisy: right half of the time without it."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=rng)
    y = (x[:, 0] * x[:, 1] > 0).long()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 2))
    trainer = rules.Trainer(model, rules.make("burst", lr=1e-2, beta=30.0, steps=20), health=rules.Health(every=0))
    before = trainer.evaluate([(x, y)])["accuracy"]
    list(trainer.fit([(x, y)], epochs=500))
    assert trainer.evaluate([(x, y)])["accuracy"] > 0.85 > 0.6 > before
