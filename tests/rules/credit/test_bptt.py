"""BPTT is checked against the closed recursion, finite differences, and itself when cut or checkpointed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import rules
from rules.check import toy
from rules.contract import MissingNeed, Run
from rules.credit.bptt import BPTT
from rules.credit.restricted import Restricted
from rules.spikes.surrogate import SURROGATES, Surrogate
from sandbox import LIF, EscapeLIF, Layer, Network, Population, StochasticBinary, build

T, B, SIZES = 7, 3, (4, 5, 3)
QUADRATIC = toy.Quadratic(target=0.3)  # an error at every output, whether it fires or not
STOCHASTIC = {"sso", "local_zo"}  # their derivative is drawn anew at every call


def network(neuron: LIF, seed: int = 0) -> Network:
    """Two layers of spiking neurons in float64, driven to fire."""
    layers = [Layer(nn.Linear(i, o), Population(neuron, 1.0)) for i, o in zip(SIZES, SIZES[1:], strict=False)]
    net = Network(layers, (SIZES[0],)).double()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(6 * torch.randn(p.shape, generator=rng, dtype=torch.float64))
    return net


def sequence(seed: int = 1) -> rules.Batch:
    rng = torch.Generator().manual_seed(seed)
    return rules.Batch(torch.randn(T, B, SIZES[0], generator=rng, dtype=torch.float64))


def assign(credit: BPTT, model: nn.Module, batch: rules.Batch, objective=None) -> rules.Credit:
    return credit.assign(model, objective or QUADRATIC, batch, (), torch.Generator().manual_seed(0))


def recursion(net: Network, x, neuron: LIF, shape: Surrogate, detach: bool, window: int | None = None):
    """The closed form of the specification, for `h = beta v + (1 - beta)(W x + b)` and the quadratic toy loss."""
    beta = torch.exp(torch.tensor(-1.0 / neuron.tau_mem, dtype=torch.float64))
    kappa = 0.0 if detach else 1.0
    layers = [(layer.synapse.weight.detach(), layer.synapse.bias.detach()) for layer in net.layers]
    seen, hs, spikes = [x], [], []
    for weight, bias in layers:
        v = torch.zeros(B, len(bias), dtype=torch.float64)
        h_rows, s_rows = [], []
        for drive in seen[-1] @ weight.T + bias:
            h = beta * v + (1 - beta) * drive
            s = (h >= neuron.v_threshold).double()
            v = {"to_value": h * (1 - s), "subtract": h - s * neuron.v_threshold, "none": h}[neuron.reset]
            h_rows.append(h)
            s_rows.append(s)
        hs.append(torch.stack(h_rows))
        spikes.append(torch.stack(s_rows))
        seen.append(spikes[-1])
    error = 2 * (seen[-1] - QUADRATIC.target) / seen[-1].numel()
    grads = {}
    for number in (1, 0):
        h, s = hs[number], spikes[number]
        g = shape.grad(h - neuron.v_threshold)
        slope = {
            "to_value": (1 - s) - kappa * h * g,
            "subtract": 1 - kappa * neuron.v_threshold * g,
            "none": torch.ones_like(h),
        }[neuron.reset]
        credit, later = torch.zeros_like(h), torch.zeros_like(h[0])
        for t in reversed(range(T)):
            if window is not None and (t + 1) % window == 0:
                later = torch.zeros_like(later)
            credit[t] = error[t] * g[t] + beta * later * slope[t]
            later = credit[t]
        drive = (1 - beta) * credit
        grads[f"layers.{number}.synapse.weight"] = torch.einsum("tbo,tbi->oi", drive, seen[number])
        grads[f"layers.{number}.synapse.bias"] = drive.sum((0, 1))
        error = drive @ layers[number][0]
    return grads


def same(a, b, tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["to_value", "subtract", "none"])
@pytest.mark.parametrize("shape", sorted(set(SURROGATES) - STOCHASTIC))
def test_equals_the_closed_recursion(shape, reset, detach):
    """P1.2; 1e-10 leaves five digits above the rounding of 7 steps in float64."""
    neuron = LIF(tau_mem=2.0, reset=reset, surrogate=Surrogate(shape))
    net, batch = network(neuron), sequence()
    mine = assign(BPTT(detach_reset=detach), net, batch).grads
    assert any(g.any() for g in mine.values())
    same(mine, recursion(net, batch.x, neuron, Surrogate(shape), detach), 1e-10)


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_a_window_cuts_the_gradient_of_the_state(window):
    """P1.5: k = 1 leaves the sum of the spatial gradients of each step."""
    neuron = LIF(tau_mem=2.0)
    net, batch = network(neuron), sequence()
    mine = assign(BPTT(window=window), net, batch).grads
    same(mine, recursion(net, batch.x, neuron, neuron.surrogate, True, window), 1e-12)
    whole = assign(BPTT(), net, batch).grads
    assert not torch.allclose(mine["layers.0.synapse.weight"], whole["layers.0.synapse.weight"], rtol=1e-3)


@pytest.mark.parametrize(
    "credit", [BPTT(window=T), BPTT(checkpoint=1), BPTT(checkpoint=3), BPTT(window=T, checkpoint=7)]
)
def test_whole_windows_and_checkpoints_change_nothing(credit):
    """P1.5 for k = T; the same operations in the same order, so 1e-12 is generous."""
    net, batch = build((4,), 3, hidden=("6r", 5), seed=1).double(), sequence()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(3)
    want, got = assign(BPTT(), net, batch), assign(credit, net, batch)
    same(got.grads, want.grads, 1e-12)
    assert got.loss == pytest.approx(want.loss, rel=1e-14)


@pytest.mark.parametrize("neuron", [EscapeLIF(), StochasticBinary(), *(LIF(surrogate=s) for s in sorted(STOCHASTIC))])
def test_recomputation_repeats_the_draws_of_the_loss(neuron):
    """One piece draws what the whole sequence draws, so its recomputed gradient is the same up to round-off."""
    net, batch = network(neuron), sequence()
    want, got = assign(BPTT(), net, batch), assign(BPTT(checkpoint=T), net, batch)
    same(got.grads, want.grads, 1e-12)
    assert got.loss == want.loss


class Shaken(nn.Module):
    """A foreign model with a state that draws from every global generator at each step."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = nn.GRUCell(4, 6, dtype=torch.float64), nn.Linear(6, 3, dtype=torch.float64)

    def forward(self, x, carry=None):
        out = []
        for now in x:
            shaken = torch.nn.functional.dropout(now, 0.3) * np.random.rand() * random.random()
            carry = self.cell(shaken, carry)
            out.append(self.head(carry))
        return Run(torch.stack(out), carry)


@pytest.mark.parametrize("every", [1, 3, T])
def test_recomputation_repeats_draws_from_global_generators(every):
    gradients = []
    for credit in (BPTT(), BPTT(checkpoint=every)):
        torch.manual_seed(1), np.random.seed(1), random.seed(1)
        gradients.append(assign(credit, Shaken(), sequence()).grads)
    same(gradients[0], gradients[1], 1e-12)


def test_checkpointing_pays_with_a_second_pass():
    net, batch = network(LIF()), sequence()
    once, twice = assign(BPTT(), net, batch).cost, assign(BPTT(checkpoint=2), net, batch).cost
    assert (once.forwards, once.backwards, once.layer_evaluations) == (1, 1, 2)
    assert once.synaptic_operations == T * B * (4 * 5 + 5 * 3)
    assert twice.forwards == 2
    assert once.synaptic_operations < twice.synaptic_operations <= 2 * once.synaptic_operations


@pytest.mark.parametrize("fires", [True, False])
def test_detaching_the_reset_matters_only_where_the_surrogate_does(fires):
    """P1.9: with a boxcar that no membrane comes near, both gradients are the same to the last bit."""
    neuron = LIF(tau_mem=2.0, surrogate=Surrogate("rect", alpha=0.05 if fires else 1e6))
    net, batch = network(neuron), sequence()
    if not fires:
        batch = batch._replace(x=torch.zeros_like(batch.x))
        with torch.no_grad():
            for layer in net.layers:
                layer.synapse.bias.zero_()
    a, b = (assign(BPTT(detach_reset=d), net, batch).grads["layers.0.synapse.weight"] for d in (True, False))
    assert torch.equal(a, b) is not fires


def test_smooth_mode_is_the_true_gradient():
    """Central differences of the smooth network, step 1e-6: error 1e-12 of curvature plus 1e-10 of rounding."""
    neuron = LIF(tau_mem=2.0, surrogate=Surrogate("sigmoid"))
    net, batch = network(neuron), sequence()
    credit = BPTT(smooth=True, detach_reset=False)
    grads = assign(credit, net, batch).grads
    weight = net.layers[0].synapse.weight
    for index in [(0, 0), (2, 3), (4, 1)]:
        losses = []
        for change in (1e-6, -2e-6, 1e-6):
            with torch.no_grad():
                weight[index] += change
            losses.append(assign(credit, net, batch).loss)
        up, down, _ = losses
        assert float(grads["layers.0.synapse.weight"][index]) == pytest.approx((up - down) / 2e-6, rel=1e-6, abs=1e-9)


def test_the_rule_overrides_the_surrogate_of_the_model():
    batch = sequence()
    boxcar, atan = Surrogate("rect"), Surrogate("atan")
    overridden = assign(BPTT(surrogate=boxcar), network(LIF(surrogate=atan)), batch).grads
    built = assign(BPTT(), network(LIF(surrogate=boxcar)), batch).grads
    same(overridden, built, 0.0)
    assert BPTT(surrogate="rect") == BPTT(surrogate=boxcar)


def test_an_override_without_effect_is_reported():
    with pytest.warns(UserWarning, match=r"surrogate=.*had no effect: Sequential evaluates no rules.Surrogate"):
        assign(BPTT(surrogate=Surrogate("atan")), nn.Sequential(nn.Linear(3, 2)).double(), toy.batch())


def test_restriction_leaves_all_else_alone():
    model, batch = toy.smooth(), toy.batch()
    credit = Restricted(BPTT())
    got = assign(credit, model, batch).grads
    assert set(got) == {"2.weight", "2.bias"}
    same(got, {k: v for k, v in assign(BPTT(), model, batch).grads.items() if k in got}, 0.0)
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match=r"only=\('nothing',\) names no trainable parameter; there are: 0.weight"):
        Restricted(BPTT(), ("nothing",)).parameters(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window=0: give a number of steps, at least 1"),
        ({"checkpoint": -1}, "checkpoint=-1: give a number of steps"),
        ({"window": 3, "checkpoint": 2}, "window=3 is not a multiple of checkpoint=2"),
    ],
)
def test_impossible_windows_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BPTT(**options)


def test_pieces_need_a_carry():
    with pytest.raises(ValueError, match=r"Sequential.forward takes no carry: let forward\(x, carry=None\)"):
        assign(BPTT(window=2), nn.Sequential(nn.Linear(3, 2)).double(), toy.batch())


def test_a_severed_model_is_named():
    with pytest.raises(MissingNeed, match="gradient: autograd reaches every trainable parameter"):
        assign(BPTT(), toy.smooth(frozenset({"layers"})), toy.batch())
