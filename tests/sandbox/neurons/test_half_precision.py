"""Cells in half precision count their refractory steps and draw their noise as cells in float32 do."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction

import pytest
import torch

from rules.steps import wide_dtype
from sandbox.neurons import IN_BRIAN2, LIF, EscapeLIF, StochasticBinary
from sandbox.neurons.firing import spike
from sandbox.neurons.stepping import rest
from sandbox.simulation import scan

HALF = [torch.bfloat16, torch.float16]
WAITING = [
    name
    for name, cell in IN_BRIAN2.items()
    if "t_refractory" in {f.name for f in fields(cell) if f.init} and cell(t_refractory=1.0).refractory is None
]


def times(spikes):
    return spikes.flatten().nonzero().flatten().tolist()


def every(period, dt, steps):
    """Steps of a cell that fires whenever it may: multiples of floor(period / dt), in exact fractions."""
    interval = max(math.floor(Fraction(str(period)) / Fraction(str(dt))), 1)
    return list(range(0, steps, interval))


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("period", "dt"),
    [(25.6, 0.1), (25.8, 0.1), (26.0, 0.1), (60.0, 0.1), (2.6, 0.01), (10.0, 0.01), (25.6, 0.01), (60.0, 0.01)],
)
def test_a_refractory_period_has_its_steps_in_every_dtype(period, dt, dtype):
    steps = 2 * round(period / dt) + 20
    currents = torch.full((steps, 1), 3e4, dtype=dtype)  # so strong that a cell fires in the first step it may
    spikes, state = scan(LIF(t_refractory=period), currents, dt=dt)
    assert times(spikes) == every(period, dt, steps)
    assert (state.wait.dtype, spikes.dtype, state.v.dtype) == (wide_dtype(currents), dtype, dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", WAITING)
def test_every_cell_that_waits_counts_in_half_precision(name, dtype):
    """No neuron may fire twice within its period, nor be silenced for ever by a counter that does not count down."""
    cell = IN_BRIAN2[name](t_refractory=30.0)
    waiting = rest(cell, torch.zeros(1, 1, dtype=dtype))
    assert waiting.wait.dtype == torch.float32
    counter = waiting._replace(wait=torch.full((1,), 300.0))
    for left in range(299, -1, -1):
        spikes, counter = cell.step(torch.zeros(1, dtype=dtype), counter, 0.1)
        assert (float(counter.wait), counter.wait.dtype) == (left, torch.float32)
        assert spikes.dtype == dtype
        assert all(v.dtype == dtype for k, v in counter._asdict().items() if k not in ("wait", "key"))


def test_cells_that_wait_are_those_of_the_library():
    assert {"lif", "cuba_lif", "alpha_lif", "coba_lif", "alif", "escape_lif", "qif", "eif", "adex"} <= set(WAITING)
    assert {"izhikevich", "two_compartment", "resonate_and_fire"} <= set(WAITING)


@pytest.mark.parametrize("dtype", HALF)
def test_a_sequence_continues_from_its_state(dtype):
    currents = torch.full((700, 2), 3e4, dtype=dtype)
    whole, _ = scan(LIF(t_refractory=30.0), currents, dt=0.1)
    first, state = scan(LIF(t_refractory=30.0), currents[:123], dt=0.1)
    second, _ = scan(LIF(t_refractory=30.0), currents[123:], state, dt=0.1)
    assert torch.equal(torch.cat([first, second]), whole)


@pytest.mark.parametrize(
    ("dtype", "period", "counts"),
    [(torch.bfloat16, 2e7, "float32 counts to 16777216"), (torch.float32, 9e8, "float32 counts to 16777216")],
)
def test_a_period_that_no_counter_counts_is_refused(dtype, period, counts):
    with pytest.raises(ValueError, match=rf"steps of dt=1 ms, and {counts}.*currents\.double\(\)"):
        scan(LIF(t_refractory=period), torch.ones(2, 1, dtype=dtype), dt=1.0)
    scan(LIF(t_refractory=period), torch.ones(2, 1, dtype=torch.float64), dt=1.0)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("cell", [EscapeLIF(), StochasticBinary()])
def test_noisy_cells_fire_as_often_as_in_float32(cell, dtype):
    """Far below threshold hardly a cell fires. Draws rounded to half precision are 0, 1 or infinite and fire often.

    200,000 draws, 8 spreads of the noise below: a logistic or exponential tail of exp(-8), 67 spikes; six standard
    errors are 49, and the membrane, rounded to 8 bits, moves the rate by less than 3 %.
    """
    spread = cell.delta_v
    low = cell.v_threshold - 8 * spread
    counts = {}
    for kind in (dtype, torch.float32):
        state = rest(cell, torch.zeros(1, 200_000, dtype=kind))._replace(v=torch.full((200_000,), low, dtype=kind))
        spikes, after = cell.fire(state, 1.0)
        assert spikes.dtype == after.v.dtype == kind
        counts[kind] = float(spikes.double().sum())
    assert abs(counts[dtype] - counts[torch.float32]) <= 49


def test_compiled_equations_count_in_half_precision():
    pytest.importorskip("brian2")
    from sandbox import from_brian2

    cell = from_brian2(
        "dv/dt = (1*Mohm * current - v) / (10*ms) : volt (unless refractory)",
        threshold="v > 1*mV",
        reset="v = 0*mV",
        refractory="30*ms",
        method="exact",
    )
    for dtype in HALF:
        currents = torch.full((700, 1), 3e4, dtype=dtype)
        spikes, state = scan(cell, currents, dt=0.1)
        assert times(spikes) == [0, 300, 600]
        assert (spikes.dtype, state.v.dtype, state.wait.dtype) == (dtype, dtype, torch.float32)


def test_compiled_draws_are_uniform_in_half_precision():
    """P(rand() < 0.001) is 0.001; draws of 8 bits would make it 0 or 1/256. Five standard errors of 200,000 draws."""
    pytest.importorskip("brian2")
    from sandbox import from_brian2

    cell = from_brian2("dv/dt = -v / (10*ms) : volt", threshold="rand() < 0.001", reset="v = 0*mV", method="exact")
    for dtype in HALF:
        currents = torch.zeros(1, 200_000, dtype=dtype)
        spikes, state = scan(cell, currents, dt=0.1)
        assert (spikes.dtype, state.v.dtype) == (dtype, dtype)
        assert abs(float(spikes.double().mean()) - 0.001) < 5 * math.sqrt(0.001 / 200_000)


@pytest.mark.parametrize("dtype", HALF)
def test_a_counter_of_half_precision_is_widened(dtype):
    """Cells of the user's own make theirs by zeros_like(v)."""
    u = torch.ones(3, dtype=dtype)
    spikes, wait = spike(LIF().surrogate, u, torch.zeros_like(u), 300.1, 0.1)
    assert (spikes.dtype, wait.dtype, wait.tolist()) == (dtype, torch.float32, [3000.0] * 3)
