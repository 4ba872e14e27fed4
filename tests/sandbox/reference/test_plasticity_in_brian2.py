"""Spike-timing-dependent plasticity against Brian2, every weight in every step."""

from __future__ import annotations

import pytest
import torch

from rules.credit.spike_timing import Window
from sandbox.reference.plasticity import weights_in_brian2
from tests.rules.credit.spike_timing.trains import running, stimulus

TRIPLETS = {"triplet_plus": 0.6, "triplet_minus": 0.3}
WINDOWS = {
    "pairs": {},
    "pairs before": {"read": "before"},
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
