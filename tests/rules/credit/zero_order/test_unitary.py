"""Layers that keep lengths: drawn so, watched, and pulled back."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from rules.check import check_rule
from rules.credit.bptt import BPTT
from rules.credit.zero_order import HZO, SequentialLocal, TowardsOrthogonal, orthogonal_
from rules.objectives import OBJECTIVES
from rules.plasticity import PLASTICITIES
from rules.recipes import LearningRule
from tests.rules.credit.zero_order.nets import assign, deep, dice, inputs, mlp


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_orthogonal_weights(shape):
    rows, columns = shape
    (layer,) = orthogonal_(nn.Sequential(nn.Linear(columns, rows)).double(), dice(), gain=2.0)
    side = layer.weight if rows <= columns else layer.weight.T
    torch.testing.assert_close(side @ side.T, 4 * torch.eye(len(side), dtype=torch.float64))
    assert not layer.bias.any()


def test_delta_orthogonal_convolutions_keep_lengths():
    (layer,) = orthogonal_(nn.Sequential(nn.Conv2d(3, 3, 5, padding=2)).double(), dice())
    x = inputs(2, 3, 7, 7)
    torch.testing.assert_close(layer(x).norm(), x.norm())


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("probes", ["basis", "random"])
def test_the_monitor_reads_the_gain(gain, probes):
    """|J| / sqrt(units) is the gain to the power of the layers; 64 random probes of 32 units for 8 samples know it to 1 %."""
    model = deep(4, activation=nn.Identity, gain=gain)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        info = assign(HZO(probes=probes, q=64), model, inputs(8, 32)).info
    gains = {name: value for name, value in info.items() if name.startswith("gain")}
    assert gains.keys() == {"gain 2..4", "gain 3..4", "gain 1..2"}
    assert list(gains.values()) == pytest.approx([gain] * 3, rel=1e-6 if probes == "basis" else 0.02)
    assert len(said) == (0 if gain == 1 else 3)
    if gain != 1:
        side = "below" if gain < 1 else "above"
        assert f", {side} [0.8, 1.25]: in a network of many layers" in str(said[0].message)


def test_the_gain_of_convolutions_and_of_narrow_layers():
    convolutions = [nn.Conv1d(4, 4, 3, padding=1) for _ in range(3)]
    model = orthogonal_(nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(24, 5)).double(), dice())
    info = assign(SequentialLocal(), model, inputs(2, 4, 6)).info
    assert [info[f"gain {k}..{k + 1}"] for k in (1, 2, 3)] == pytest.approx([1, 1, 1])


def test_the_pull_is_the_slope_of_the_penalty():
    model, x = mlp([3, 5, 2]), inputs(4, 3)
    plain, pulled = (assign(rule, model, x).grads for rule in (HZO(), TowardsOrthogonal(HZO(), weight=0.1, gain=1.5)))
    for name, p in model.named_parameters():
        penalty = 0.0
        if p.ndim > 1:
            side = p if len(p) <= p.shape[1] else p.T
            penalty = 0.1 * (side @ side.T - 1.5**2 * torch.eye(len(side))).square().sum()
            (penalty,) = torch.autograd.grad(penalty, p)
        torch.testing.assert_close(pulled[name], plain[name] + penalty)


def test_pulled_weights_become_orthogonal():
    model = mlp([4, 4, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(300):
        for (_, p), pull in zip(
            model.named_parameters(), assign(TowardsOrthogonal(BPTT(), 1.0), model, inputs(1, 4) * 0).grads.values()
        ):
            p.grad = pull
        optimizer.step()
    weight = model[0].weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(4, dtype=torch.float64), atol=1e-2, rtol=0)


def test_the_pull_keeps_the_contract():
    """With so small a weight that the pull, which the claim is not about, is below the check's tolerance."""
    report = check_rule(
        LearningRule(OBJECTIVES["ce_mean"](), TowardsOrthogonal(HZO(), 1e-12), PLASTICITIES["sgd"](lr=0.1))
    )
    assert report.passed, report
