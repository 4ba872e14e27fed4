"""Imported networks learn: gradients pass through them, and rules train them."""

from __future__ import annotations

import nir
import numpy as np
import pytest
import torch

import rules
from rules.spikes.surrogate import differentiating
from sandbox import from_nir, scan
from sandbox.networks.network import Network
from sandbox.networks.parts import Stack
from sandbox.nir.parts import Scale, Threshold
from tests.sandbox.nir.graphs import DT, chained, full


def foreign(seed=0, *last):
    """A graph as other programs write it: two dense layers, of current-based cells and of leaky ones."""
    rng = np.random.default_rng(seed)
    weights = lambda n, m: nir.Affine(2 * rng.normal(size=(n, m)), np.zeros(n))  # noqa: E731
    hidden = nir.CubaLIF(full(0.005, 20), full(0.01, 20), full(2.0, 20), full(0.0, 20), full(0.5, 20))
    end = nir.LI(full(0.01), full(1.0), full(0.0))
    return chained(weights(20, 6), hidden, weights(3, 20), end, *last)


def batch(seed=0):
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(30) % 3
    x = torch.rand(40, 30, 6, generator=rng) * 0.3 + torch.nn.functional.one_hot(y, 6)
    return x, y


def test_gradients_are_those_of_finite_differences():
    """Of the smooth network, whose spikes are the surrogate's integral."""
    net = from_nir(foreign(), dt=1.0, dtype=torch.float64)
    x = batch()[0][:, :4].double()
    weight = net.layers[0].synapse.weight

    def loss():
        with differentiating(smooth=True, detach_reset=False):
            return net(x).output.square().mean()

    (gradient,) = torch.autograd.grad(loss(), weight)
    step, direction = 1e-6, torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ends = []
    with torch.no_grad():
        for sign in (1, -1):
            weight.add_(sign * step * direction)
            ends.append(loss())
            weight.sub_(sign * step * direction)
    numerical = float(ends[0] - ends[1]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(numerical, rel=1e-6)  # of central differences
    assert abs(numerical) > 1e-6


@pytest.mark.parametrize(
    ("rule", "scheme"), [("bptt", "exact"), ("bptt", "euler"), ("eprop", "exact"), ("hzo", "exact")]
)
def test_rules_train_a_network(rule, scheme):
    net = from_nir(foreign(), dt=1.0, scheme=scheme)
    assert isinstance(net, Network)
    before = [p.detach().clone() for p in net.parameters()]
    trainer = rules.Trainer(net, rule, seed=0)
    losses = [trainer.step(batch()).loss for _ in range(10)]
    assert losses[-1] < losses[0]
    assert any(not torch.equal(p, q) for p, q in zip(before, net.parameters()))


def test_spike_times_train_a_network():
    """STDP asks for no loss and moves the weights between two spiking layers."""
    spiking = nir.LIF(full(0.01), full(1.0), full(0.0), full(0.1))
    graph = chained(*[foreign().nodes[f"n{i}"] for i in range(3)], spiking)
    net = from_nir(graph, dt=1.0)
    before = net.layers[1].synapse.weight.detach().clone()
    x, _ = batch()
    rules.Trainer(net, "stdp", seed=0).step(rules.Batch((x > 0.5).float()))
    assert not torch.equal(before, net.layers[1].synapse.weight)


def test_a_stack_is_trained_by_bptt():
    """With a delay, a threshold and a factor, which the gradient passes."""
    rng = np.random.default_rng(0)
    nodes = [
        nir.Scale(np.ones(6)),
        nir.Linear(rng.normal(size=(20, 6))),
        nir.Threshold(full(0.2, 20)),
        nir.Delay(np.full(20, 2 * DT / 1000)),
        nir.Affine(rng.normal(size=(3, 20)), np.zeros(3)),
        nir.LI(full(0.01), full(1.0), full(0.0)),
    ]
    net = from_nir(chained(*nodes), dt=DT)
    assert isinstance(net, Stack)
    trainer = rules.Trainer(net, "bptt", seed=0)
    losses = [trainer.step(batch()).loss for _ in range(30)]
    assert losses[-1] < losses[0]
    (scale,) = [module for module in net.modules() if isinstance(module, Scale)]
    assert (scale.scale != 1).all()
    assert sum(isinstance(module, Threshold) for module in net.modules()) == 1


def test_parameters_of_each_cell_follow_the_dtype():
    net = from_nir(chained(nir.LIF(np.array([0.01, 0.02]), full(2.0, 2), full(0.0, 2), np.array([0.5, 1.0]))), dt=1.0)
    cells = net.layers[0].cells
    assert cells.present().tau_mem.dtype == torch.float32
    net.double()
    assert cells.present().tau_mem.dtype == torch.float64
    assert not net.state_dict()
    x = torch.rand(30, 1, 2, dtype=torch.float64)
    want, _ = scan(cells.present(), x[:, 0])
    assert torch.equal(net(x).output[:, 0], want)
