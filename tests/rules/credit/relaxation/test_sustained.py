"""Feedback that sustains itself: its gain beside eigenvalues, and the finding beside what is learned."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import rules
from rules.credit.relaxation.sustained import MOST, feedback_gain
from rules.models.chain import links_of
from sandbox.networks.models.small import perceptron

SIZES = (6, 5, 4, 3)


def chain(seed, activation):
    torch.manual_seed(seed)
    layers = [each for m, n in pairwise(SIZES) for each in (nn.Linear(m, n), activation())]
    return nn.Sequential(*layers).double()


STEEPEST = {nn.Tanh: 1.0, nn.Sigmoid: 0.25, nn.ReLU: 1.0, nn.Identity: 1.0, nn.Hardsigmoid: 1 / 6}


@pytest.mark.parametrize("activation", STEEPEST)
@pytest.mark.parametrize("seed", range(3))
def test_the_gain_is_the_largest_eigenvalue_of_a_sweep(seed, activation):
    """The whole matrix of all layers, and its eigenvalues by LAPACK, times the largest slope; a few per cent."""
    net = chain(seed, activation)
    _, *others = [each for each in net if isinstance(each, nn.Linear)]
    sizes = SIZES[1:]
    whole = torch.zeros(sum(sizes), sum(sizes), dtype=torch.float64)
    at = 0
    for linear in others:
        below, above = slice(at, at + linear.in_features), slice(at + linear.in_features, None)
        whole[above, below][: linear.out_features] = linear.weight.detach()
        whole[below, above][:, : linear.out_features] = linear.weight.detach().T
        at += linear.in_features
    wanted = STEEPEST[activation] * float(torch.linalg.eigvalsh(whole).abs().max())
    found = feedback_gain(links_of(net, "test"))
    assert 0.9 * wanted - 1e-12 <= found <= 1.1 * wanted + 1e-12


def test_orthogonal_chains_have_the_gain_of_a_path():
    """Layers of one width whose weights are rotations: 2 cos(pi / (n + 1)) for n of them."""
    net = nn.Sequential(*[each for _ in range(4) for each in (nn.Linear(8, 8, bias=False), nn.Tanh())])
    for each in net[::2]:
        nn.init.orthogonal_(each.weight)
    assert feedback_gain(links_of(net, "test")) == pytest.approx(2 * math.cos(math.pi / 5), rel=0.03)


def test_a_clamp_without_biases_is_steep_beside_zero():
    """`Hardtanh(0, 1)`, the activation of Scellier & Bengio, whose slope at 0 is 0."""
    net = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Hardtanh(0, 1), nn.Linear(6, 3, bias=False), nn.Hardtanh(0, 1))
    wanted = float(torch.linalg.matrix_norm(net[2].weight.detach(), 2))
    assert feedback_gain(links_of(net, "test")) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("scale", [0.0, 1e-30])
def test_weights_of_nothing(scale):
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh())
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    assert feedback_gain(links_of(net, "test")) < 1e-20


@pytest.mark.parametrize(("size", "ill"), [(1.0, True), (0.6, False)])
def test_it_is_found_where_the_answer_does_not_follow_the_input(size, ill):
    net = perceptron((8,), 3, hidden=(16,) * 5)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(size)
    rule = rules.make("equilibrium_propagation", tolerance=1e-3)
    batch = rules.Batch(torch.rand(6, 8), torch.arange(6) % 3)
    found = rule.credit.assign(net, rule.objective, batch, (), torch.Generator()).findings
    assert [each.kind for each in found] == ["self-sustained"] * ill
    if ill:
        assert found[0].value > MOST
        gain = found[0].value
        assert f"amplify activity by {gain:.2f} in a sweep" in str(found[0])
        assert f"scale the weights by {0.9 / gain:.2f} or less" in str(found[0])
