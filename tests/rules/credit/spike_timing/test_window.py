"""Pairs and triplets of spikes in closed form, by a double loop, and on average."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.credit.spike_timing import Window
from tests.rules.credit.spike_timing.trains import moved, poisson, regular, running

EXACT = 1e-12  # float64 products and sums of at most some hundred numbers of order one
PAIRS = Window(a_plus=0.8, a_minus=0.5, tau_plus=17.0, tau_minus=34.0)
TRIPLETS = replace(PAIRS, triplet_plus=0.6, triplet_minus=0.3)


def at(steps, *times):
    train = torch.zeros(steps, 1, dtype=torch.float64)
    train[list(times)] = 1
    return train


@pytest.mark.parametrize("pairing", ["all", "nearest"])
@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("lag", [1, 10, 40])
@pytest.mark.parametrize("dt", [0.5, 1.0])
def test_a_pair_at_a_lag_is_the_window(pairing, read, lag, dt):
    window = replace(PAIRS, pairing=pairing, read=read)
    later = moved(window, at(50, 3), at(50, 3 + lag), dt)
    sooner = moved(window, at(50, 3 + lag), at(50, 3), dt)
    assert float(later) == pytest.approx(0.8 * math.exp(-lag * dt / 17), rel=EXACT)
    assert float(sooner) == pytest.approx(-0.5 * math.exp(-lag * dt / 34), rel=EXACT)
    assert float(moved(replace(window, shape="symmetric"), at(50, 3 + lag), at(50, 3), dt)) == -float(sooner)


def test_two_spikes_in_one_step_are_a_pair_of_both_orders_or_none():
    assert float(moved(PAIRS, at(5, 2), at(5, 2))) == pytest.approx(0.8 - 0.5, rel=EXACT)
    assert float(moved(replace(PAIRS, read="before"), at(5, 2), at(5, 2))) == 0.0


@pytest.mark.parametrize("read", ["after", "before"])
@pytest.mark.parametrize("pairing", ["all", "nearest"])
def test_regular_trains_in_closed_form(pairing, read):
    """Both with period P, the cell D later: in a period a_plus e^(-D / tau) - a_minus e^(-(P - D) / tau), of the
    nearest spikes; of all, a geometric series of these."""
    window, period, lag = replace(PAIRS, pairing=pairing, read=read), 30, 12
    steps = 100 * period
    total = running(window, regular(steps, 1, period), regular(steps, 1, period, start=lag))
    last = float(total[-1] - total[-1 - period])
    plus, minus = 0.8 * math.exp(-lag / 17), 0.5 * math.exp(-(period - lag) / 34)
    if pairing == "all":
        plus, minus = plus / (1 - math.exp(-period / 17)), minus / (1 - math.exp(-period / 34))
    assert last == pytest.approx(plus - minus, rel=1e-11)  # a difference of sums of a hundred periods


@pytest.mark.parametrize("read", ["after", "before"])
def test_the_drift_of_independent_poisson_trains(read):
    """On average in each step p q (a_plus / (1 - l_plus) - a_minus / (1 - l_minus)), with l for steps of their own
    where traces are read before; r_pre r_post (a_plus tau_plus - a_minus tau_minus) as dt goes to 0."""
    window, p, q, steps, lead = replace(PAIRS, read=read), 0.02, 0.03, 20_000, 500
    total = running(window, poisson(steps, 20, p, 0), poisson(steps, 20, q, 1))
    drift = (total[-1] - total[lead]) / (steps - 1 - lead)  # [20, 20], from where the traces are stationary
    keeps = [math.exp(-1 / tau) for tau in (17, 34)]
    own = [1.0 if read == "after" else keep for keep in keeps]
    wanted = p * q * (0.8 * own[0] / (1 - keeps[0]) - 0.5 * own[1] / (1 - keeps[1]))
    # weights that share a train are not independent: the means of disjoint pairs are, one for each input and cell
    alone = drift.diagonal()
    error = float(alone.std()) / len(alone) ** 0.5
    assert abs(float(alone.mean()) - wanted) < 5 * error
    assert abs(wanted) > 3 * error  # so that half or twice of it would be seen
    fine = p * q * (0.8 * 17 - 0.5 * 34)
    assert wanted == pytest.approx(fine, rel=0.2)


@pytest.mark.parametrize("pairing", ["all", "nearest"])
def test_a_triplet_in_closed_form(pairing):
    """post at 0, pre at 5, post at 9: two pairs, and a triplet of a_plus; pre, post, pre likewise."""
    window = replace(TRIPLETS, pairing=pairing)
    first = moved(window, at(20, 5), at(20, 0, 9))
    wanted = math.exp(-4 / 17) * (0.8 + 0.6 * math.exp(-9 / 125)) - 0.5 * math.exp(-5 / 34)
    assert float(first) == pytest.approx(wanted, rel=EXACT)
    second = moved(window, at(20, 0, 9), at(20, 5))
    wanted = 0.8 * math.exp(-5 / 17) - math.exp(-4 / 34) * (0.5 + 0.3 * math.exp(-9 / 101))
    assert float(second) == pytest.approx(wanted, rel=EXACT)


def by_loops(window, pre, post, dt):
    """The change by sums over pairs and triplets of spikes, without traces; all-to-all."""
    total = 0.0
    before, after = pre.flatten().nonzero().flatten().tolist(), post.flatten().nonzero().flatten().tolist()
    for f in after:
        slow = sum(math.exp(-(f - g) * dt / window.tau_y) for g in after if g < f)
        fast = sum(
            math.exp(-(f - g) * dt / window.tau_plus) for g in before if g < f or (g == f and window.read == "after")
        )
        total += fast * (window.a_plus + window.triplet_plus * slow)
    for f in before:
        slow = sum(math.exp(-(f - g) * dt / window.tau_x) for g in before if g < f)
        fast = sum(
            math.exp(-(f - g) * dt / window.tau_minus) for g in after if g < f or (g == f and window.read == "after")
        )
        total -= fast * (window.a_minus + window.triplet_minus * slow)
    return total


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=25),
    st.sampled_from(["after", "before"]),
    st.sampled_from([PAIRS, TRIPLETS]),
    st.floats(0.1, 3.0),
)
def test_traces_are_sums_over_pairs_and_triplets(spikes, read, window, dt):
    window = replace(window, read=read)
    pre, post = torch.tensor(spikes, dtype=torch.float64).unbind(1)
    found = float(moved(window, pre[:, None], post[:, None], dt))
    assert found == pytest.approx(by_loops(window, pre, post, dt), rel=EXACT, abs=EXACT)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 39), st.sampled_from(["all", "nearest"]), st.sampled_from([PAIRS, TRIPLETS]))
def test_a_train_in_two_parts_is_the_whole(cut, pairing, window):
    window = replace(window, pairing=pairing)
    pre, post = poisson(40, 3, 0.3, 0)[:, None, None], poisson(40, 2, 0.3, 1)[:, None, :, None]
    whole, ends = window.terms(pre, post, 1.0)
    first, kept = window.terms(pre[:cut], post[:cut], 1.0)
    second, last = window.terms(pre[cut:], post[cut:], 1.0, kept)
    for one, two, all_ in zip(first, second, whole, strict=True):
        for parts in zip(one, two, all_, strict=True):
            torch.testing.assert_close(torch.cat(parts[:2]), parts[2], rtol=EXACT, atol=EXACT)
    for a, b in zip(last, ends, strict=True):
        torch.testing.assert_close(a, b, rtol=EXACT, atol=EXACT)


def test_the_nearest_spike_alone_is_what_all_pairs_are_without_the_others():
    pre, post = at(30, 2, 9), at(30, 12)
    nearest = replace(PAIRS, pairing="nearest")
    assert torch.equal(moved(nearest, pre, post), moved(nearest, at(30, 9), post))
    assert float(moved(PAIRS, pre, post)) > float(moved(nearest, pre, post))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairing": "nearst"}, "unknown pairing 'nearst'; nearest: 'nearest'; valid: all, nearest"),
        ({"shape": "hebb"}, "unknown shape 'hebb'.*causal, symmetric"),
        ({"read": "now"}, "unknown read 'now'.*after, before"),
        ({"tau_plus": 0.0}, "tau_plus=0.0: give a time constant above 0, in ms"),
        ({"tau_y": -1.0}, "tau_y=-1.0: give a time constant above 0, in ms"),
        ({"a_minus": -0.1}, "a_minus=-0.1"),
        ({"triplet_plus": float("nan")}, "triplet_plus=nan: give a finite number"),
    ],
)
def test_windows_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Window(**options)


def test_traces_of_other_cells_are_refused():
    _, kept = PAIRS.terms(torch.zeros(2, 1, 1, 3), torch.zeros(2, 1, 2, 1), 1.0)
    with pytest.raises(ValueError, match=r"the carry has \[\(1, 1, 3\), \(1, 2, 1\)\] as shapes of traces, and .*anew"):
        PAIRS.terms(torch.zeros(2, 4, 1, 3), torch.zeros(2, 4, 2, 1), 1.0, kept)
