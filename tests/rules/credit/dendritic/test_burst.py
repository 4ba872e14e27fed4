"""Burst-dependent plasticity beside feedback alignment and backpropagation, and its limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.dendritic import Burst
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
    wanted = aligned(model, seen, state)
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
    found = Burst(1e-5).assign(model, objective, seen, known, torch.Generator()).grads
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
    assert Burst(top_down="transposed").init(model, torch.Generator()) == {}


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
        Burst().assign(chain(), rules.OBJECTIVES["ce_mean"](), batch(), {}, torch.Generator())


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
