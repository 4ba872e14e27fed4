"""Target propagation beside Gauss-Newton and backpropagation, with inverses that are known."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.target_propagation import Inverses, TargetPropagation
from rules.plasticity import SGD, Adam
from tests.rules.credit.relaxation.nets import apart, assign, backpropagated, batch, chain


def inverses(model, of):
    """The inverse of each layer but the first, by a function of its weight."""
    upper = [layer for layer in model if isinstance(layer, nn.Linear)][1:]
    matrices = tuple(of(layer.weight.detach()) for layer in upper)
    return Inverses(matrices, tuple(-v @ layer.bias.detach() for v, layer in zip(matrices, upper)))


@pytest.mark.parametrize("beta", [1e-2, 1.0])
def test_exact_inverses_of_a_square_linear_network_give_gauss_newton(beta):
    """P7.11: delta_l = J^-1 delta_L; 1e-11 is round-off divided by beta, times the condition of the weights."""
    model, seen = chain((3, 3, 3, 3), nn.Identity), batch(3)
    error = (model(seen.x).softmax(1) - nn.functional.one_hot(seen.y, 3)).detach() / 7
    grads = assign(TargetPropagation(beta), model, seen, state=inverses(model, torch.linalg.inv)).grads
    w1, w2, w3 = (layer.weight.detach() for layer in model if isinstance(layer, nn.Linear))
    b1, b2, _ = (layer.bias.detach() for layer in model if isinstance(layer, nn.Linear))
    h1 = seen.x @ w1.T + b1
    h2 = h1 @ w2.T + b2
    for name, jacobian, pre in (("0", w3 @ w2, seen.x), ("2", w3, h1), ("4", torch.eye(3).double(), h2)):
        delta = error @ torch.linalg.inv(jacobian).T
        assert torch.allclose(grads[f"{name}.weight"], delta.T @ pre, rtol=1e-11, atol=1e-11), name
        assert torch.allclose(grads[f"{name}.bias"], delta.sum(0), rtol=1e-11, atol=1e-11), name


def test_the_inverses_of_orthogonal_weights_give_backpropagation():
    """P7.11: where J^-1 = J^T."""
    model, seen = chain((4, 4, 4, 4), nn.Identity), batch(4, 4)
    for layer in model:
        if isinstance(layer, nn.Linear):
            layer.weight.data = torch.linalg.qr(layer.weight.data)[0]
    grads = assign(TargetPropagation(), model, seen, state=inverses(model, torch.linalg.inv)).grads
    assert apart(grads, backpropagated(model, seen)) < 1e-12


@given(st.lists(st.integers(1, 5), min_size=2, max_size=5), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_transposed_weights_give_backpropagation_in_linear_networks(sizes, samples, seed):
    """P7.12, of any widths: dg/dh = J^T."""
    model, seen = chain(sizes, nn.Identity, seed=seed), batch(sizes[0], sizes[-1], samples)
    grads = assign(TargetPropagation(), model, seen, state=inverses(model, torch.t)).grads
    wanted = backpropagated(model, seen)
    assert all(torch.allclose(grads[name], wanted[name], rtol=1e-10, atol=1e-12) for name in wanted)


def test_the_last_layer_gets_its_gradient_whatever_the_inverses():
    model, seen = chain(), batch()
    grads = assign(TargetPropagation(), model, seen, state=TargetPropagation().init(model, torch.Generator())).grads
    wanted = backpropagated(model, seen)
    assert all(torch.allclose(grads[name], wanted[name], rtol=1e-12) for name in ("4.weight", "4.bias"))
    assert not torch.allclose(grads["0.weight"], wanted["0.weight"], rtol=0.1)


def test_inverses_learn_to_invert():
    """The error of a round trip falls to a tenth, with fixed weights; V is then the inverse on the data."""
    model, seen = chain((4, 3, 3), nn.Identity), batch(samples=50)
    credit = TargetPropagation(rate=1.0, noise=0.5)
    state = credit.init(model, torch.Generator().manual_seed(0))
    h = model[0](seen.x).detach()

    def trip(state):
        return float((model[2](h).detach() @ state.matrices[0].T + state.offsets[0] - h).norm() / h.norm())

    before = trip(state)
    for seed in range(2000):
        state = assign(credit, model, seen, state=state, seed=seed).state
    assert trip(state) < 0.1 * before


def test_without_a_rate_the_inverses_stay():
    model, seen = chain(), batch()
    state = TargetPropagation().init(model, torch.Generator())
    assert assign(TargetPropagation(rate=0.0), model, seen, state=state).state is state
    assert assign(TargetPropagation(), model, seen, state=state).state.matrices[0].ne(state.matrices[0]).any()


def test_it_keeps_the_contract():
    report = check_rule(TargetPropagation())
    assert report.passed, str(report)


def test_costs_are_those_of_targets_and_of_learning_the_inverses():
    model, seen = chain((4, 6, 5, 3)), batch(samples=7)
    state = TargetPropagation().init(model, torch.Generator())
    cost = assign(TargetPropagation(), model, seen, state=state).cost
    weights, upper = 24 + 30 + 15, 30 + 15
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (1, 0, 3 + 2)
    assert cost.synaptic_operations == 7 * (weights + upper)
    assert cost.error_operations == 7 * 3 * upper
    assert cost.weight_operations == 7 * (weights + upper)
    assert cost.gaussian_draws == 7 * (6 + 5)


def test_it_learns():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = torch.randn(90, 6, generator=rng) * 0.3 + 2 * torch.eye(3, 6)[y]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    trainer = rules.Trainer(model, rules.LearningRule(rules.OBJECTIVES["ce_mean"](), TargetPropagation(), Adam(0.01)))
    list(trainer.fit([(x, y)], epochs=100))
    assert trainer.evaluate([(x, y)])["accuracy"] > 0.9


def test_bad_input_is_refused():
    for options, said in (
        ({"beta": 0.0}, "beta=0.0: give a number above 0"),
        ({"rate": 1.5}, "rate=1.5: give a number from 0 to 1"),
        ({"noise": -0.1}, "noise=-0.1: give a number of at least 0"),
    ):
        with pytest.raises(ValueError, match=said):
            TargetPropagation(**options)
    with pytest.raises(ValueError, match="TargetPropagation knows the error at the output alone"):
        rules.LearningRule(rules.make("tcl").objective, TargetPropagation(), SGD(0.1))
    state = TargetPropagation().init(chain((4, 6, 3)), torch.Generator())
    with pytest.raises(ValueError, match=r"are \[\(6, 3\)\], and the model now wants \[\(6, 5\), \(5, 3\)\]"):
        assign(TargetPropagation(), chain(), batch(), state=state)
    with pytest.raises(rules.MissingNeed, match="chain: .*layer 1 is LayerNorm, neither"):
        rules.Trainer(
            nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)),
            rules.LearningRule(rules.OBJECTIVES["ce_mean"](), TargetPropagation(), SGD(0.1)),
        )
