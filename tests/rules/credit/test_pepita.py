"""PEPITA beside the feedback alignment that it is to first order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.pepita import PEPITA
from rules.plasticity import SGD
from tests.rules.credit.relaxation.nets import assign, backpropagated, batch, chain


def drawn(model, scale=1.0, seed=0):
    return scale * PEPITA().init(model, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("steps", [None, 3])
def test_to_first_order_it_is_feedback_alignment_through_the_first_weights(steps):
    """P7.4: the remainder of a linear network is quadratic in F; the bits of a quotient of two differences."""
    model, seen = chain((4, 5, 3), nn.Identity), batch(steps=steps)
    x, feedback = seen.x.reshape(-1, 4), drawn(model)
    output = model(seen.x).detach().requires_grad_()
    loss = rules.OBJECTIVES["ce_mean"]()(rules.Run(output if steps else output[None]), seen)
    error = torch.autograd.grad(loss, output)[0].reshape(-1, 3) * len(x)  # e, [rows, classes]
    left = []
    for scale in (1.0, 0.5, 0.25):
        found = assign(PEPITA(), model, seen, state=scale * feedback).grads["0.weight"]
        first = -(error @ (model[0].weight.detach() @ (scale * feedback)).T).T @ x / len(x)
        left.append(float((found - first).norm()))
        assert left[-1] < float(first.norm())
    assert left[0] / left[1] == pytest.approx(4, rel=1e-9)
    assert left[1] / left[2] == pytest.approx(4, rel=1e-9)


def test_the_remainder_is_of_second_order_behind_a_smooth_activation_too():
    """With the slope of tanh in the first order; cubic terms are left, hence 5 %."""
    model, seen = chain((4, 5, 3)), batch()
    feedback = drawn(model)
    error = (model(seen.x).softmax(1) - nn.functional.one_hot(seen.y, 3)).detach()
    slope = 1 - torch.tanh(model[0](seen.x)).detach() ** 2
    left = []
    for scale in (0.1, 0.05):
        found = assign(PEPITA(), model, seen, state=scale * feedback).grads["0.weight"]
        first = -(slope * (error @ (model[0].weight.detach() @ (scale * feedback)).T)).T @ seen.x / len(seen.x)
        left.append(float((found - first).norm()))
    assert left[0] / left[1] == pytest.approx(4, rel=0.05)


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_without_feedback_hidden_layers_get_nothing_and_the_last_its_gradient(sizes, samples, seed):
    """P7.5, in any chain."""
    model, seen = chain(sizes, seed=seed), batch(sizes[0], sizes[-1], samples)
    grads = assign(PEPITA(), model, seen, state=torch.zeros(sizes[0], sizes[-1], dtype=torch.float64)).grads
    last = f"{2 * (len(sizes) - 2)}."
    wanted = backpropagated(model, seen)
    for name, grad in grads.items():
        if name.startswith(last):
            assert torch.allclose(grad, wanted[name], rtol=1e-12, atol=1e-15)
        else:
            assert not grad.any()


def test_three_layers_by_hand():
    """The equations of the docstring, one sample at a time."""
    model, seen = chain((4, 5, 6, 3)), batch()
    feedback, total = drawn(model), {}
    for x, y in zip(seen.x, seen.y):
        h1 = torch.tanh(model[0](x))
        h2 = torch.tanh(model[2](h1))
        e = model[4](h2).softmax(0) - nn.functional.one_hot(y, 3)
        moved = x + feedback @ e
        m1 = torch.tanh(model[0](moved))
        m2 = torch.tanh(model[2](m1))
        for name, post, pre in (("0", h1 - m1, moved), ("2", h2 - m2, m1), ("4", e, m2)):
            total[f"{name}.weight"] = total.get(f"{name}.weight", 0) + torch.outer(post, pre) / len(seen.y)
            total[f"{name}.bias"] = total.get(f"{name}.bias", 0) + post / len(seen.y)
    grads = assign(PEPITA(), model, seen, state=feedback).grads
    assert grads.keys() == total.keys()
    assert all(torch.allclose(grads[name], total[name], atol=1e-14, rtol=1e-12) for name in total)


def test_the_feedback_is_uniform_with_the_scale_said_and_follows_the_seed():
    model = nn.Sequential(nn.Linear(600, 4), nn.ReLU(), nn.Linear(4, 50))
    one, again, other = (PEPITA().init(model, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    size = 0.05 * 2 * (6 / 600) ** 0.5
    assert float(one.std()) == pytest.approx(size, rel=0.03)  # 30,000 draws: 5 standard errors are 1.3 %
    assert float(one.abs().max()) == pytest.approx(3**0.5 * size, rel=0.01)
    assert abs(float(one.mean())) < 0.03 * size
    assert float(PEPITA(scale=0.1).init(model, torch.Generator().manual_seed(0)).std()) == pytest.approx(
        2 * float(one.std())
    )


def test_it_keeps_the_contract():
    report = check_rule(PEPITA())
    assert report.passed, str(report)


def test_two_forward_passes_are_billed():
    model, seen = chain((4, 6, 5, 3)), batch(samples=7)
    cost = assign(PEPITA(), model, seen, state=drawn(model)).cost
    weights = 24 + 30 + 15
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (2, 0, 6)
    assert (cost.synaptic_operations, cost.weight_operations) == (2 * 7 * weights, 7 * weights)
    assert cost.error_operations == 7 * 4 * 3


def test_it_learns():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = torch.randn(90, 20, generator=rng) * 0.5 + 2 * torch.eye(3, 20)[y]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 3))
    trainer = rules.Trainer(model, rules.LearningRule(rules.OBJECTIVES["ce_mean"](), PEPITA(), SGD(0.1)))
    list(trainer.fit([(x, y)], epochs=60))
    assert trainer.evaluate([(x, y)])["accuracy"] > 0.9


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="scale=-1.0: give a number of at least 0"):
        PEPITA(scale=-1.0)
    with pytest.raises(ValueError, match="PEPITA knows the error at the output alone"):
        rules.LearningRule(rules.make("tcl").objective, PEPITA(), SGD(0.1))
    with pytest.raises(ValueError, match=r"feedback of PEPITA is \(4, 2\), and the model now takes and gives \(4, 3\)"):
        assign(PEPITA(), chain(), batch(), state=torch.zeros(4, 2))
    with pytest.raises(rules.MissingNeed, match="chain: .*layer 1 is Dropout, neither a dense layer"):
        rules.Trainer(
            nn.Sequential(nn.Linear(4, 3), nn.Dropout()),
            rules.LearningRule(rules.OBJECTIVES["ce_mean"](), PEPITA(), SGD(0.1)),
        )
