"""Exact spike times against sums of kernels, and their gradients against central differences."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.credit.eventprop import Membrane, peaks, spike_times, voltages
from rules.credit.eventprop.grazing import warn_of_grazing
from rules.credit.eventprop.solver import adjoint, arrivals, fire
from rules.diagnostics.health import HealthWarning
from tests.rules.credit.eventprop import naive

CELLS = {
    "bracket": Membrane(20.0, 5.0),
    "quadratic": Membrane(20.0, 10.0),
    "Lambert": Membrane(10.0, 10.0),
    "slow synapse": Membrane(10.0, 15.0),
}
HORIZON = 60.0
DIFFERENCE = 1e-6  # of parameters of order one; the error of a central difference is then about 1e-9
AGREES = 1e-6  # what the specification asks for, as a share of 1 + the derivative


def tensor(*shape, seed=0, scale=1.0, shift=0.0, normal=False):
    rng = torch.Generator().manual_seed(seed)
    draw = torch.randn if normal else torch.rand
    return draw(*shape, dtype=torch.float64, generator=rng) * scale + shift


def network(seed, cell):
    """Input times, two weights, axonal delays of the first layer and synaptic ones of the second.

    Weights are in units of the voltage that a spike causes, so that cells of all constants fire a few times.
    """
    unit = 0.16 / max(naive.kernel(t / 10, cell.tau_mem, cell.tau_syn) for t in range(400))
    return {
        "times": tensor(3, 4, 2, seed=seed, scale=30.0),
        "first": unit * tensor(6, 4, seed=seed + 1, scale=3.0, shift=2.0, normal=True),
        "second": unit * tensor(3, 6, seed=seed + 2, scale=1.0, shift=1.5, normal=True),
        "axonal": tensor(4, seed=seed + 3, scale=3.0),
        "synaptic": tensor(3, 6, seed=seed + 4, scale=3.0),
    }


def run(given, cell):
    hidden = spike_times(given["times"], given["first"], cell, HORIZON, axonal=given["axonal"], grazing=0.0)
    return hidden, spike_times(hidden, given["second"], cell, HORIZON, synaptic=given["synaptic"], grazing=0.0)


def loss(output):
    """Spike times, each with a weight of its own, so that no part of the gradient cancels."""
    there = torch.isfinite(output)
    share = torch.where(there, output, 0.0) / 20.0
    return (share**2 * torch.cos(torch.arange(output.shape[2]) + 1.0)).sum()


def same_spikes(one, other):
    return all(
        a.shape == b.shape and torch.equal(torch.isfinite(a), torch.isfinite(b))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("name", CELLS)
def test_spike_times_are_those_of_sums_of_kernels(name):
    cell, given = CELLS[name], network(5, CELLS[name])
    found = spike_times(
        given["times"],
        given["first"],
        cell,
        HORIZON,
        axonal=given["axonal"],
        synaptic=given["synaptic"][:, :4].repeat(2, 1),
    )
    assert int(torch.isfinite(found).sum()) > 20
    for sample in range(3):
        parts = (given[key].tolist() for key in ("first", "axonal"))
        weight, axonal = parts
        late = given["synaptic"][:, :4].repeat(2, 1).tolist()
        wanted = naive.layer(given["times"][sample].tolist(), weight, cell, HORIZON, axonal, late)
        for row, times in zip(found[sample].tolist(), wanted, strict=True):
            there = [t for t in row if math.isfinite(t)]
            assert there == pytest.approx(times, abs=1e-9)  # 60 halves of 0.01 ms, V near threshold to 1e-13


def test_one_cell_and_one_spike_follow_the_closed_form():
    """d t / d w = -K(t) / V'(t) by hand; below 6.35 there is no spike, for K is 0.1575 at most."""
    cell = CELLS["bracket"]
    w = torch.tensor([[9.0]], dtype=torch.float64, requires_grad=True)
    t = spike_times(torch.zeros(1, 1, 1, dtype=torch.float64), w, cell, HORIZON, most=1)
    (slope,) = torch.autograd.grad(t.sum(), w)
    at = float(t.detach())
    k = naive.kernel(at, 20.0, 5.0)
    rise = 9.0 / 15 * 5 * (math.exp(-at / 5) / 5 - math.exp(-at / 20) / 20)
    assert k * 9.0 == pytest.approx(1.0, abs=1e-13)
    assert float(slope) == pytest.approx(-k / rise, rel=1e-12)
    weak = spike_times(
        torch.zeros(1, 1, 1, dtype=torch.float64), torch.tensor([[6.34]], dtype=torch.float64), cell, 60.0
    )
    strong = spike_times(
        torch.zeros(1, 1, 1, dtype=torch.float64), torch.tensor([[6.36]], dtype=torch.float64), cell, 60.0
    )
    assert (weak.shape[2], strong.shape[2]) == (0, 1)


@pytest.mark.parametrize("name", CELLS)
def test_two_layers_agree_with_central_differences_where_spikes_stay(name):
    """Of input times, weights and both kinds of delays."""
    cell = CELLS[name]
    given = {key: value.requires_grad_() for key, value in network(0, cell).items()}
    hidden, output = run(given, cell)
    assert int(torch.isfinite(hidden).sum()) > 30
    assert output.shape[2] > 2
    slopes = dict(zip(given, torch.autograd.grad(loss(output), list(given.values())), strict=True))
    compared = 0
    for key, value in given.items():
        flat = value.detach().reshape(-1)
        for n in range(len(flat)):
            ends = []
            for sign in (1, -1):
                moved = flat.clone()
                moved[n] += sign * DIFFERENCE
                ends.append(run({**given, key: moved.reshape(value.shape)}, cell))
            if not same_spikes(*ends):
                continue
            compared += 1
            wanted = float((loss(ends[0][1]) - loss(ends[1][1])).detach()) / (2 * DIFFERENCE)
            assert abs(float(slopes[key].reshape(-1)[n]) - wanted) < AGREES * (1 + abs(wanted)), (key, n)
    assert compared > 70  # of 90


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(sorted(CELLS)))
def test_the_gradient_is_right_along_random_directions(seed, name):
    cell = CELLS[name]
    given = {key: value.requires_grad_() for key, value in network(seed, cell).items()}
    way = {key: tensor(*value.shape, seed=seed + 7, normal=True) for key, value in given.items()}
    output = run(given, cell)[1]
    if not bool(torch.isfinite(output).any()):
        return
    slopes = torch.autograd.grad(loss(output), list(given.values()))
    size = 1e-7
    ends = [run({k: v + sign * size * way[k] for k, v in given.items()}, cell) for sign in (1, -1)]
    if not same_spikes(*ends):
        return
    wanted = float((loss(ends[0][1]) - loss(ends[1][1])).detach()) / (2 * size)
    found = float(sum((g * way[key]).sum() for g, key in zip(slopes, given, strict=True)))
    if abs(wanted) < 100:  # near a grazing spike the second derivative, and the error of the difference, has no bound
        assert abs(found - wanted) < 1e-4 * (1 + abs(wanted))


def test_losses_of_a_voltage_agree_with_central_differences():
    cell, times = CELLS["bracket"], tensor(2, 3, 2, scale=20.0).requires_grad_()
    hidden, out = tensor(5, 3, seed=1, scale=6.0, shift=2.0), tensor(2, 5, seed=2, normal=True)
    parts = [times, hidden.requires_grad_(), out.requires_grad_()]

    def value(times, hidden, out):
        fired = spike_times(times, hidden, cell, 40.0, grazing=0.0)
        seen = voltages(fired, out, cell, torch.linspace(1.0, 40.0, 9, dtype=torch.float64))
        return (seen**2).sum() + peaks(fired, out, cell, 40.0).sum()

    slopes = torch.autograd.grad(value(*parts), parts)
    for number, part in enumerate(parts):
        for n in range(part.numel()):
            ends = []
            for sign in (1, -1):
                moved = part.detach().reshape(-1).clone()
                moved[n] += sign * DIFFERENCE
                ends.append(value(*parts[:number], moved.reshape(part.shape), *parts[number + 1 :]).detach())
            wanted = float(ends[0] - ends[1]) / (2 * DIFFERENCE)
            assert abs(float(slopes[number].reshape(-1)[n]) - wanted) < AGREES * (1 + abs(wanted))


def test_the_greatest_voltage_is_that_of_a_fine_grid():
    cell, times, weight = CELLS["quadratic"], tensor(2, 3, 2, scale=20.0), tensor(4, 3, seed=1, scale=2.0, normal=True)
    grid = voltages(times, weight, cell, torch.linspace(0.0, 40.0, 40_001, dtype=torch.float64))
    assert float(peaks(times + 50.0, weight, cell, 40.0).abs().max()) == 0.0  # nothing arrives
    off = peaks(times, weight, cell, 40.0) - grid.amax(2).clamp(min=0)
    assert float(off.min()) > -1e-12
    assert float(off.max()) < 1e-4  # a step of 0.001 ms beside a kink, 0.1 mV/ms at most


def test_backward_work_follows_spikes_and_not_time():
    cell = CELLS["bracket"]

    def visits(spread, horizon, units):
        given = arrivals(tensor(2, units, 1, scale=spread), tensor(7, units, seed=1, scale=4.0), horizon)
        fired = fire(cell, given, horizon)
        count = int(torch.isfinite(fired.times).sum())
        found = adjoint(cell, given, fired, torch.zeros_like(fired.times))
        assert found.visits == 2 * units * 7 + count
        return found.visits - count

    assert visits(20.0, 100.0, 10) == visits(20.0, 10_000.0, 10)
    assert visits(20.0, 100.0, 20) == 2 * visits(20.0, 100.0, 10)


def test_long_sequences_neither_overflow_nor_lose_digits():
    """A spike train behind 100 s of silence is that of the beginning."""
    cell, times, weight = CELLS["bracket"], tensor(1, 4, 3, scale=30.0), tensor(3, 4, seed=1, scale=4.0)
    early = spike_times(times, weight, cell, 80.0)
    late = spike_times(torch.cat([times, times + 1e5], 2), weight, cell, 1e5 + 80.0)
    for first, both in zip(early[0], late[0], strict=True):
        first, both = (row[torch.isfinite(row)] for row in (first, both))
        assert torch.equal(first, both[: len(first)])
        assert float((both[len(first) :] - 1e5 - first).abs().max()) < 1e-9  # a float64 at 1e5 is good to 1e-11


def test_cells_that_stay_silent_get_no_gradient():
    weight = torch.full((1, 1), 0.5, dtype=torch.float64, requires_grad=True)
    found = spike_times(torch.zeros(1, 1, 1, dtype=torch.float64), weight, CELLS["bracket"], 40.0)
    assert found.shape == (1, 1, 0)
    assert torch.autograd.grad(found.sum(), weight)[0].tolist() == [[0.0]]


def test_the_first_spikes_are_those_of_all():
    cell = CELLS["bracket"]
    given = network(3, cell)
    whole = spike_times(given["times"], given["first"], cell, HORIZON)
    assert torch.equal(spike_times(given["times"], given["first"], cell, HORIZON, most=1), whole[..., :1])


def test_a_grazing_spike_is_reported_with_cell_sample_and_time_and_not_clipped():
    cell = CELLS["bracket"]
    top = max(naive.kernel(t / 1000, 20.0, 5.0) for t in range(20_000))
    weight = torch.tensor([[9.0], [(1 + 1e-9) / top]], dtype=torch.float64, requires_grad=True)
    times = torch.full((2, 1, 1), torch.inf, dtype=torch.float64)
    times[1] = 3.0
    with pytest.warns(HealthWarning, match=r"cell 1 of hidden in sample 1 at 12\.2\d* ms is grazing .* clip the norm"):
        found = spike_times(times, weight, cell, 40.0, name="hidden")
    (slope,) = torch.autograd.grad(found[1].sum(), weight)
    assert float(slope[1]) < -1000 * abs(float(slope[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spike_times(times, weight, cell, 40.0, grazing=0.0)
    many = torch.full((2, 3, 1), 1e-5)
    with pytest.warns(HealthWarning, match="and 3 others"):
        assert warn_of_grazing("x", many, torch.zeros(2, 3, 1), 1e-3) == 6


ONE = torch.zeros(1, 1, 1, dtype=torch.float64)
W = torch.ones(1, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": ONE[0]}, "give times"),
        ({"weight": torch.ones(1, 2, dtype=torch.float64)}, "give times"),
        ({"weight": W.float()}, "one floating dtype"),
        ({"times": ONE - 1}, "below 0"),
        ({"times": ONE * torch.nan}, "NaN"),
        ({"weight": W * torch.inf}, "lower the learning rate"),
        ({"horizon": 0.0}, "horizon=0.0"),
        ({"most": 0}, "most=0"),
        ({"axonal": torch.zeros(2, dtype=torch.float64)}, "axonal delays have shape"),
        ({"synaptic": -W}, "synaptic delays hold.*clamp_"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"times": ONE, "weight": W, "cell": CELLS["bracket"], "horizon": 10.0, **change}
    with pytest.raises(ValueError, match=message):
        spike_times(given.pop("times"), given.pop("weight"), given.pop("cell"), given.pop("horizon"), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"tau_mem": 0.0}, "tau_mem=0.0"), ({"tau_syn": -1.0}, "tau_syn"), ({"tau_syn": 20.000001}, "make them equal")],
)
def test_constants_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        Membrane(**change)
