"""Directions of low rank: the losses of weights that are moved, the mean and scale of the estimate, and the cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.zero_order.flat.evolution import EvolutionStrategy
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.credit.zero_order.flat.thin import thin_layers
from rules.credit.zero_order.sharing import seeds
from rules.models.admission import UnfitModel
from sandbox import LIF, LeakyIntegrator, build
from tests.rules.credit.zero_order.nets import QUADRATIC, assign, dice, drawn, flat, inputs, mlp, rms_of

T, B = 4, 6
SEEN = inputs(T, B, 5).abs()


def network():
    return build((5,), 2, ("9r", 8), LIF(tau_mem=3.0), LeakyIntegrator(), seed=1).double().eval()


def conv():
    parts = nn.Conv1d(5, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(21, 8), nn.Tanh(), nn.Linear(8, 4)
    return drawn(nn.Sequential(*parts))


def frozen():
    model = mlp([5, 8, 7, 3])
    model[0].bias.requires_grad_(False)
    model[2].weight.requires_grad_(False)
    return model


class Loop(nn.Module):
    """A weight that is used at every step."""

    def __init__(self):
        super().__init__()
        self.inward, self.again, self.out = nn.Linear(5, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x):
        h = torch.zeros(x.shape[1], 7, dtype=x.dtype)
        for now in x:
            h = torch.tanh(self.inward(now) + self.again(h))
        return self.out(h)


class Tied(nn.Module):
    """A weight that an embedding shares."""

    def __init__(self):
        super().__init__()
        self.names, self.out, self.free = nn.Embedding(9, 8), nn.Linear(8, 9), nn.Linear(9, 8)
        self.out.weight = self.names.weight

    def forward(self, x):
        return self.free(self.out(self.names(x)))


MODELS = {
    "layers": (lambda: mlp([5, 8, 7, 3]), inputs(B, 5)),
    "spiking": (network, 3 * SEEN),
    "convolution": (conv, inputs(B, 5, 7)),
    "frozen": (frozen, inputs(B, 5)),
    "loop": (lambda: drawn(Loop()), SEEN),
    "tied": (lambda: drawn(Tied()), torch.arange(2 * B).reshape(2, B) % 9),
}


def brute(rule, make, x, seed=0):
    """The estimate with whole matrices `u v^T / sqrt(rank)`, by moving copies of the weights."""
    rng, model = dice(seed), make()
    seeds(2, rng)
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    thin = {id(layer.weight) for layer in thin_layers(model, rule.rank)}
    scales = rms_of(model, learned) if rule.relative else dict.fromkeys(learned, 1.0)
    found = {name: torch.zeros_like(p) for name, p in learned.items()}
    for number in seeds(rule.draws, rng):
        each, z = dice(number), {}
        for name, p in learned.items():
            if id(p) in thin:
                u, v = (torch.randn(size, rule.rank, generator=each, dtype=p.dtype) for size in p.shape)
                z[name] = u @ v.T / rule.rank**0.5
            else:
                z[name] = torch.randn(p.shape, generator=each, dtype=p.dtype)
        ends = []
        for sign in (1, -1):
            moved = make()
            with torch.no_grad():
                for name, p in moved.named_parameters():
                    if name in z:
                        p.add_(sign * rule.step * scales[name] * z[name])
            ends.append(float(BPTT().assign(moved, QUADRATIC, Batch(x), (), dice()).loss))
        for name in found:
            found[name] += (ends[0] - ends[1]) / (2 * rule.step * rule.draws * scales[name]) * z[name]
    return found


@pytest.mark.parametrize(("make", "x"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("rank", "relative"), [(1, True), (2, True), (1, False)])
def test_the_weights_that_move_are_those_of_whole_matrices(make, x, rank, relative):
    """1e-10: losses of order 1 are rounded to 1e-16, over a step of 1e-2 and times directions up to 10."""
    rule = SPSA(draws=3, step=1e-2, rank=rank, relative=relative)
    model = make()
    before = [p.detach().clone() for p in model.parameters()]
    mine, wanted = assign(rule, model, x).grads, brute(rule, make, x)
    assert mine.keys() == wanted.keys()
    torch.testing.assert_close(flat(mine), flat(wanted), atol=1e-10, rtol=1e-10)
    assert all(map(torch.equal, before, model.parameters()))
    assert not any(module._forward_hooks or "forward" in vars(module) for module in model.modules())


def test_which_layers_are_thin():
    assert [layer.out_features for layer in thin_layers(mlp([5, 8, 7, 3]), 1)] == [8, 7, 3]
    assert [layer.out_features for layer in thin_layers(mlp([5, 8, 7, 3]), 3)] == [8, 7]  # 3 (5 + 8) < 40
    assert [layer.out_features for layer in thin_layers(drawn(Tied()), 1)] == [8]
    assert thin_layers(torch.compile(mlp([5, 8, 7, 3])), 1) == []


@pytest.mark.slow
@pytest.mark.parametrize("rule", [SPSA(rank=1), SPSA(rank=2, diff="forward", direction="rademacher")], ids=str)
def test_mean_and_scale(rule):
    """Over 3,000 draws each entry of the mean is that of autograd to 5 standard errors, and so is its length."""
    model, x = mlp([3, 4, 3]), inputs(5, 3)
    true = flat(assign(BPTT(), model, x).grads)
    each = torch.stack([flat(assign(rule, model, x, seed=seed).grads) for seed in range(3000)])
    mean, error = each.mean(0), each.std(0) / 3000**0.5
    assert bool(((mean - true).abs() < 5 * error + 1e-3).all())  # 1e-3: of a step of 1e-3, forward
    along = each @ true / true.square().sum()
    assert float(along.mean()) == pytest.approx(1, abs=5 * float(along.std()) / 3000**0.5 + 1e-3)


def test_the_strategy_takes_a_rank_too():
    model, x = mlp([3, 4, 3]), inputs(5, 3)
    true = flat(assign(BPTT(), model, x).grads)
    mine = flat(assign(EvolutionStrategy(2000, 1e-3, shaping="none", rank=1, relative=False), model, x).grads)
    assert float(torch.cosine_similarity(mine, true, 0)) > 0.96  # of 31 weights and 1,000 directions
    assert float(mine.norm() / true.norm()) == pytest.approx(1, abs=0.1)
    assert assign(EvolutionStrategy(8, rank=1), model, x).grads["0.weight"].any()


def test_the_cost():
    """Products are asked for in each pass, and the first is made once; directions have fewer numbers."""
    model, x = mlp([5, 8, 7]), inputs(B, 5)
    cost = assign(SPSA(draws=3, rank=2), model, x).cost
    assert (cost.forwards, cost.layer_evaluations, cost.layer_evaluations_done) == (6, 12, 7)
    assert cost.gaussian_draws == 3 * (2 * (5 + 8 + 8 + 7) + 8 + 7)
    scales = 5 * 8 + 8 + 8 * 7 + 7  # the square of each weight
    assert cost.weight_operations == 3 * (2 * (5 * 8 + 8 * 7) + 8 + 7) + scales
    assert cost.synaptic_operations == 6 * B * (5 * 8 + 8 * 7 + 2 * (5 + 8 + 8 + 7))


@pytest.mark.parametrize("rule", [SPSA, EvolutionStrategy])
def test_a_rank_below_one(rule):
    with pytest.raises(ValueError, match=r"rank=0: give a whole number, at least 1, or None for directions of whole"):
        rule(rank=0)


class Masked(nn.Module):
    """A layer whose weight is used through a mask, and never called."""

    def __init__(self):
        super().__init__()
        self.one, self.mask = nn.Linear(5, 5), torch.eye(5)

    def forward(self, x):
        return torch.tanh(nn.functional.linear(x, self.one.weight * self.mask, self.one.bias))


@pytest.mark.parametrize("rule", [SPSA(rank=1), EvolutionStrategy(rank=1), NodePerturbation()], ids=str)
def test_weights_of_a_module_that_is_never_called(rule):
    with pytest.raises(UnfitModel, match="forms the gradient of one.weight .* the weight is used elsewhere too"):
        rule.confirm(drawn(Masked()), Batch(inputs(B, 5)))


@pytest.mark.parametrize("rule", [SPSA, EvolutionStrategy])
def test_weights_that_are_used_elsewhere(rule):
    class Elsewhere(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(5, 5)

        def forward(self, x):
            return torch.tanh(self.one(x)) @ self.one.weight

    model, batch = drawn(Elsewhere()), Batch(inputs(B, 5))
    rule().confirm(model, batch)
    with pytest.raises(UnfitModel, match="the weight is used elsewhere too"):
        rule(rank=1).confirm(model, batch)
