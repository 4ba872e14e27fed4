"""Neurons checked against closed forms: the exact step, resets, refractoriness, and the threshold at equality."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import LIF, LeakyIntegrator, LIFState, scan, simulate


def constant(current: float, steps: int = 200, cells: int = 1) -> torch.Tensor:
    return torch.full((steps, cells), current, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(tau=st.floats(1.0, 50.0), current=st.floats(-3.0, 3.0), dt=st.floats(0.05, 2.0), r=st.floats(0.5, 100.0))
def test_a_leaky_membrane_is_the_exponential(tau, current, dt, r):
    """v(t) = v_leak + r I (1 - exp(-t / tau)); 1e-12 of the largest value for 50 roundings."""
    neuron = LeakyIntegrator(tau_mem=tau, r=r, v_leak=-65.0)
    run = simulate(neuron, constant(current, 50), dt)
    want = -65.0 + r * current * (1 - torch.exp(-run.t / tau))
    torch.testing.assert_close(run.v[:, 0], want, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("dt", [pytest.param(0.01, marks=pytest.mark.slow), 0.1])
def test_the_rate_is_the_closed_form(dt):
    """T = t_ref + tau ln(I / (I - 1)) for a unit threshold.

    The crossing waits for the end of its step, up to dt late, and the clamp is lifted one step early, as in Brian2,
    where the step of the spike counts: so T is met from below, within dt.
    """
    neuron = LIF(tau_mem=10.0, t_refractory=2.0)
    run = simulate(neuron, constant(1.5, round(500 / dt)), dt)
    times = run.t[run.spikes[:, 0] > 0]
    period = float(times.diff().mean())
    want = 2.0 + 10.0 * math.log(1.5 / 0.5)
    assert want - dt - 1e-9 <= period <= want + 1e-9


@pytest.mark.parametrize(("reset", "after"), [("to_value", -0.5), ("subtract", 1.25 - 1.5), ("none", 1.25)])
def test_resets(reset, after):
    neuron = LIF(reset=reset, v_reset=-0.5)
    state = neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64))._replace(
        v=torch.tensor([1.25], dtype=torch.float64)
    )
    spikes, state = neuron.fire(state, 1.0)
    assert (float(spikes), float(state.v)) == (1.0, after)


@pytest.mark.parametrize(("t_refractory", "gap"), [(0.0, 1), (1.0, 1), (2.0, 2), (2.5, 2), (5.0, 5)])
def test_the_refractory_period_is_cut_to_whole_steps(t_refractory, gap):
    """A cell driven beyond threshold in one step fires every `gap` steps, and is clamped in between."""
    run = simulate(LIF(tau_mem=1.0, t_refractory=t_refractory), constant(10.0, 20), dt=1.0)
    assert run.spikes[:, 0].nonzero()[:, 0].diff().unique().tolist() == [gap]
    assert not run.v.any()


def test_a_state_made_by_hand_may_leave_out_the_wait():
    neuron = LIF(tau_mem=1.0, t_refractory=3.0)
    spikes, _ = scan(neuron, constant(10.0, 6), LIFState(torch.zeros(1, dtype=torch.float64)))
    assert spikes.flatten().tolist() == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(("strict", "fires"), [(False, 1.0), (True, 0.0)])
def test_threshold_at_equality(strict, fires):
    neuron = LIF(strict=strict)
    spikes, _ = neuron.fire(neuron.initial_state((1,), torch.zeros(1))._replace(v=torch.ones(1)), 1.0)
    assert float(spikes) == fires


def test_the_surrogate_width_does_not_depend_on_the_unit_of_the_membrane():
    """A cell in millivolts has the gradient of the unit cell, per unit of its swing."""
    unit, scaled = LIF(), LIF(v_leak=-65.0, v_threshold=-50.0, v_reset=-65.0, r=15.0)
    grads = []
    for neuron in (unit, scaled):
        current = constant(1.2, 30).requires_grad_()
        scan(neuron, current)[0].sum().backward()
        grads.append(current.grad)
    assert grads[0].any()
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("neuron", [LIF(), LIF(t_refractory=3.0, reset="subtract"), LeakyIntegrator()])
def test_a_state_handed_back_continues_exactly(neuron, rng):
    currents = 1 + torch.randn(40, 2, 3, generator=rng, dtype=torch.float64)
    whole, end = scan(neuron, currents)
    first, middle = scan(neuron, currents[:17])
    second, last = scan(neuron, currents[17:], middle)
    assert torch.equal(whole, torch.cat([first, second]))
    assert all(torch.equal(a, b) for a, b in zip(end, last, strict=True) if a is not None)


def test_simulate_and_scan_are_one_loop(rng):
    currents = 1 + torch.randn(40, 5, generator=rng)
    run = simulate(LIF(t_refractory=2.0), currents, record=("v", "wait"))
    assert torch.equal(run.spikes, scan(LIF(t_refractory=2.0), currents)[0])
    assert run.v.shape == run.wait.shape == (40, 5)


def test_refractory_cells_pass_no_gradient(rng):
    """A clamped cell does not listen, so its current has no influence."""
    current = constant(10.0, 6).requires_grad_()
    with differentiating(detach_reset=True):
        scan(LIF(tau_mem=1.0, t_refractory=3.0), current)[0].sum().backward()
    assert current.grad[[1, 2, 4, 5]].eq(0).all()
    assert current.grad[[0, 3]].ne(0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(tau_mem=0.0), "tau_mem=0.0: give a positive time constant in ms"),
        (lambda: LeakyIntegrator(tau_mem=-1.0), "tau_mem=-1.0: give a positive time constant"),
        (lambda: LIF(t_refractory=-1.0), "t_refractory=-1.0: give a period in ms, 0 for none"),
        (lambda: LIF(reset="to_valeu"), "unknown reset 'to_valeu'.*nearest: 'to_value'"),
        (lambda: scan(LIF(), torch.zeros(0, 3)), r"currents have shape \(0, 3\); wanted \[T, ...\]"),
        (lambda: scan(LIF(), torch.zeros(2, 3), dt=0.0), "dt=0.0: give a positive time step in ms"),
        (lambda: simulate(LIF(), torch.zeros(2, 3), record=("u",)), "LIF has no variable 'u'; it has: v"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_was_not_recorded_is_said():
    with pytest.raises(AttributeError, match=r"'i_syn' was not recorded \(recorded: v\)"):
        simulate(LIF(), torch.zeros(2, 3)).i_syn  # noqa: B018


def test_parameters_are_plain_data():
    assert LIF() == LIF()
    assert LIF(surrogate=Surrogate("sigmoid")) != LIF()
    assert "tau_mem=20.0" in repr(LIF())
