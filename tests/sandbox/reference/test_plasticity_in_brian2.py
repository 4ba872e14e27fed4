"""Spike-timing-dependent plasticity against Brian2, every weight in every step."""

from __future__ import annotations

import pytest
import torch

import rules
from rules.credit.spike_timing import STDP, Voltage, Window
from rules.credit.spike_timing.passing import Carried
from rules.credit.spike_timing.window import filtered
from rules.sites.site import sites
from sandbox import build
from sandbox.neurons import LIF
from sandbox.reference.plasticity import learning_cells_in_brian2, voltage_weights_in_brian2, weights_in_brian2
from tests.rules.credit.spike_timing.trains import poisson, running, stimulus

TRIPLETS = {"triplet_plus": 0.6, "triplet_minus": 0.3}
WINDOWS = {
    "pairs": {},
    "pairs before": {"read": "before"},
    "pairs in turn": {"read": "in_turn"},
    "triplets in turn": {**TRIPLETS, "read": "in_turn"},
    "nearest": {"pairing": "nearest"},
    "nearest before": {"pairing": "nearest", "read": "before"},
    "symmetric": {"shape": "symmetric"},
    "triplets": TRIPLETS,
    "triplets before": {**TRIPLETS, "read": "before"},
    "nearest triplets": {**TRIPLETS, "pairing": "nearest"},
}
CLOSE = 1e-9  # 2000 steps of products and sums in another order, of weights of some tens: rounding is about 1e-12


@pytest.mark.parametrize("kind", ["poisson", "regular", "correlated"])
@pytest.mark.parametrize("name", WINDOWS)
def test_every_weight_is_that_of_brian2_in_every_step(name, kind):
    """500 synapses, 25 inputs to 20 cells, for 2 s."""
    window = Window(a_plus=0.8, a_minus=0.5, tau_plus=17.0, tau_minus=34.0, **WINDOWS[name])
    pre, post = stimulus(kind, 2000, 25, 20)
    ours, theirs = running(window, pre, post), weights_in_brian2(window, pre, post, 1.0)
    assert ours.shape == theirs.shape == (2000, 20, 25)
    assert float(theirs[-1].abs().max()) > 1
    assert float((ours - theirs).abs().max()) < CLOSE


def test_half_a_millisecond():
    window = Window()
    pre, post = stimulus("correlated", 1000, 4, 3)
    found = (running(window, pre, post, 0.5) - weights_in_brian2(window, pre, post, 0.5)).abs().max()
    assert float(found) < CLOSE
    assert float((running(window, pre, post, 1.0)[-1] - running(window, pre, post, 0.5)[-1]).abs().max()) > 1e-3
    assert torch.equal(pre, pre.round())


def membranes(kind, steps, cells):
    """Membranes less thresholds [mV]: noise that is low-pass filtered, steps, or a sawtooth with spikes."""
    rng = torch.Generator().manual_seed(7)
    if kind == "noise":
        noise = torch.randn(steps, cells, generator=rng, dtype=torch.float64)
        return filtered(noise, 0.9, torch.zeros(cells).double(), nearest=False, after=True)[0] - 0.8
    if kind == "steps":
        return (torch.rand(steps // 50, cells, generator=rng).double() * 3 - 2).repeat_interleave(50, 0)
    return (torch.arange(steps)[:, None] * (1 + torch.arange(cells)) % 40).double() / 16 - 1.5


@pytest.mark.parametrize("kind", ["noise", "steps", "sawtooth"])
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_every_weight_of_membranes_is_that_of_brian2_in_every_step(kind, dt):
    """500 synapses, 25 inputs to 20 cells, for 2000 steps."""
    window = Voltage(a_plus=0.3, a_minus=0.6, theta_minus=-0.9, theta_plus=0.1)
    pre, u = poisson(2000, 25, 0.05, 0), membranes(kind, 2000, 20)
    terms, _ = window.terms(pre[:, None, None], torch.zeros_like(u)[:, None, :, None], dt, (), u[:, None, :, None])
    ours = sum(torch.einsum("tbcl,tblk->tck", *term) for term in terms).cumsum(0)
    theirs = voltage_weights_in_brian2(window, pre, u, dt)
    assert all(float(torch.einsum("tbcl,tblk->ck", *term).abs().max()) > 1 for term in terms)
    assert float((ours - theirs).abs().max()) < CLOSE * float(theirs.abs().max())


@pytest.mark.parametrize("kind", ["poisson", "regular", "correlated"])
@pytest.mark.parametrize(
    ("name", "bounds"),
    [*((name, (0.0, 1.2)) for name in WINDOWS), ("pairs", (None, None)), ("pairs before", (0.3, None))],
)
def test_cells_whose_weights_act_at_once_fire_and_learn_as_in_brian2(name, kind, bounds):
    """A closed loop: 25 inputs drive 20 cells through 500 synapses for 2 s; no spike elsewhere, every weight equal."""
    window = Window(a_plus=4e-3, a_minus=5e-3, tau_plus=17.0, tau_minus=34.0, **scaled(WINDOWS[name], 5e-3))
    neuron = LIF(tau_mem=10.0, r=5.0)
    net = build((25,), 1, hidden=(20,), neuron=neuron).double()
    net.layers, synapse = net.layers[:1], net.layers[0].synapse
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        synapse.bias.zero_()
        synapse.weight.copy_(torch.rand(20, 25, generator=rng) * 1.2)
    pre, _ = stimulus(kind, 2000, 25, 20)
    theirs, weights = learning_cells_in_brian2(window, synapse.weight.detach().clone(), pre, neuron, 1.0, *bounds)
    rule = STDP(window, acts="at_once", low=bounds[0], high=bounds[1])
    batch = rules.Batch(pre[:, None])
    found = rule.assign(net, None, batch, (), torch.Generator())
    assert 50 < float(theirs.sum()) < 30_000  # of 40,000
    (output,) = (each.output for each, *_ in rule._run(sites(net), batch.x, Carried(None), None))
    assert torch.equal(output[:, 0], theirs)
    mine = synapse.weight.detach() - found.grads["layers.0.synapse.weight"]
    assert float((mine - weights[-1]).abs().max()) < CLOSE
    assert float((weights[-1] - weights[0]).abs().max()) > 0.05


def scaled(options, size):
    """Options of a window with smaller amplitudes of triplets."""
    return {name: value * size if isinstance(value, float) else value for name, value in options.items()}
