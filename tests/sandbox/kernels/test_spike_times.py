"""The compiled solver of spike times against the one in torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.credit import eventprop
from rules.credit.eventprop import Membrane
from sandbox.kernels.spike_times import FEW, spike_times

CELLS = [Membrane(20.0, 5.0), Membrane(20.0, 10.0), Membrane(10.0, 10.0), Membrane(5.0, 20.0)]


def both(cell, seed, most=None, strength=3.0, spikes=3):
    """Return times and gradients of two layers by each solver."""
    rng = torch.Generator().manual_seed(seed)
    times = 60 * torch.rand(4, 5, spikes, generator=rng, dtype=torch.float64)
    times = torch.where(times > 50, torch.inf, times).sort(-1).values
    weights = [strength * (torch.randn(7, 5, generator=rng, dtype=torch.float64) + 1)]
    weights.append(strength * torch.randn(3, 7, generator=rng, dtype=torch.float64))
    answers = []
    for solve in (spike_times, eventprop.spike_times):
        x, ws = times.clone().requires_grad_(), [w.clone().requires_grad_() for w in weights]
        hidden = solve(x, ws[0], cell, 80.0)
        out = solve(hidden, ws[1], cell, 80.0, most=most)
        loss = torch.where(torch.isfinite(out), out, 0.0).flatten() @ torch.arange(out.numel()).double().sin()
        answers.append((hidden.detach(), out.detach(), *torch.autograd.grad(loss, [x, *ws])))
    return answers


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("most", [None, 1])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6), strength=st.sampled_from([0.5, 1.0]))
def test_times_and_gradients_are_those_of_the_solver_in_torch(cell, most, seed, strength):
    """A flat crossing magnifies round-off in the gradient, so it is compared to 1e-6 of its greatest entry."""
    ours, theirs = both(cell, seed, most, strength)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, rtol=0, atol=1e-6)  # a grazing root is known to the root of the precision
    for a, b in zip(ours[2:], theirs[2:], strict=True):
        assert float((a - b).abs().max()) <= 1e-6 * max(1.0, float(b.abs().max()))


def test_there_is_room_for_many_spikes():
    """More than what is set aside at first."""
    ours, theirs = both(Membrane(20.0, 5.0), 0, strength=4.0)
    assert ours[1].shape[2] > FEW
    assert torch.allclose(ours[1], theirs[1], rtol=0, atol=1e-9)


def test_silence_is_an_empty_axis():
    found = spike_times(torch.zeros(2, 1, 1).double(), torch.ones(3, 1).double(), Membrane(), 10.0)
    assert found.shape == (2, 3, 0)


def test_other_numbers_are_refused():
    with pytest.raises(ValueError, match=r"float64 on the CPU"):
        spike_times(torch.zeros(1, 1, 1), torch.ones(1, 1), Membrane(), 10.0)
    with pytest.raises(ValueError, match="horizon"):
        spike_times(torch.zeros(1, 1, 1).double(), torch.ones(1, 1).double(), Membrane(), -1.0)
