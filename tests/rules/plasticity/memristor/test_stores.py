"""Weight stores: no pulse is lost, a carry changes no weight, and the least digit keeps room."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rules.plasticity.memristor import (
    DEVICES,
    STORES,
    AccumulateAndCarry,
    ConstantStep,
    DifferentialPair,
    Direct,
    Positional,
    SoftBounds,
)

STREAMS = st.lists(st.lists(st.integers(-20, 20), min_size=3, max_size=3), min_size=1, max_size=60)
NOISY = SoftBounds(dw_min=0.01, dw_min_dtod=0.3, dw_min_std=3.0, write_noise=5.0, decay=0.01)


class Counting(ConstantStep):
    """An ideal device with room for everything, which remembers the pulses that it was given."""

    def init(self, weights, rng):
        return {"given": torch.zeros_like(weights)}

    def pulse(self, state, n, rng):
        state["given"] += n
        return int(n.abs().sum())

    def held(self, state):
        return torch.zeros_like(state["given"])

    def tick(self, state, rng):
        return 0


def dice():
    return torch.Generator().manual_seed(0)


def asked(device, store, stream, weights=(0.0, 0.0, 0.0)):
    rng = dice()
    state = store.init(device, torch.tensor(weights, dtype=torch.float64), rng)
    written = 0
    for n in stream:
        written += store.pulse(device, state, torch.tensor(n, dtype=torch.float64), rng)
        written += store.tick(device, state, rng)
    return state, written


@settings(max_examples=60, deadline=None)
@given(stream=STREAMS, threshold=st.integers(1, 9), period=st.integers(1, 12), one_step=st.booleans())
def test_no_pulse_is_lost(stream, threshold, period, one_step):
    """threshold * applied + remainder is exactly the sum of the requested changes."""
    state, written = asked(Counting(), AccumulateAndCarry(threshold, period, one_step), stream)
    given_, left = state["cells"]["given"], state["counter"]
    assert torch.equal(threshold * given_ + left, torch.tensor(stream, dtype=torch.float64).sum(0))
    if not one_step and len(stream) % period == 0:
        assert (left.abs() < threshold).all()
    assert written >= int(given_.abs().sum())


def test_no_pulse_is_lost_before_the_least_digit():
    stream = [[3, -4, 1]] * 25
    state, _ = asked(Counting(dw_min=1e-4), Positional(threshold=4, period=1000), stream)
    want = torch.tensor(stream, dtype=torch.float64).sum(0)
    assert torch.equal(4 * state["digits"][0]["given"] + state["counter"], want)


@settings(max_examples=30, deadline=None)
@given(stream=STREAMS)
def test_threshold_one_and_period_one_is_direct_stepping(stream):
    """To the last bit, random draws included, on a device with every noise."""
    store, rng = Direct(), dice()
    assert store == AccumulateAndCarry(threshold=1, period=1)
    state, written = asked(NOISY, store, stream)
    alone = NOISY.init(torch.zeros(3, dtype=torch.float64), rng)
    count = 0
    for n in stream:
        count += NOISY.pulse(alone, torch.tensor(n, dtype=torch.float64), rng)
        NOISY.tick(alone, rng)
    assert torch.equal(store.read(NOISY, state), NOISY.read(alone))
    assert written == count == sum(abs(x) for n in stream for x in n)


def test_at_most_one_step_a_carry():
    state, written = asked(
        Counting(), AccumulateAndCarry(threshold=4, period=2, one_step=True), [[9, -3, 1], [0, 0, 0]]
    )
    assert state["cells"]["given"].tolist() == [1, 0, 0]
    assert state["counter"].tolist() == [5, -3, 1]
    assert written == 1


def test_the_device_waits_for_its_carry():
    state, written = asked(ConstantStep(dw_min=0.01), AccumulateAndCarry(threshold=2, period=5), [[4, 0, 0]] * 4)
    assert written == 0
    assert state["counter"].tolist() == [16, 0, 0]


@settings(max_examples=40, deadline=None)
@given(
    stream=st.lists(st.lists(st.integers(-1, 1), min_size=3, max_size=3), min_size=1, max_size=80),
    base=st.integers(2, 6),
    digits=st.integers(2, 4),
    period=st.integers(1, 20),
)
def test_a_carry_changes_no_weight_and_no_digit_overflows(stream, base, digits, period):
    """On ideal devices, to 1e-12 in float64: a sum of at most 1e3 roundings of 1e-16."""
    device, store = ConstantStep(dw_min=1 / (period + base)), Positional(digits, base, period)
    sums = torch.tensor(stream, dtype=torch.float64).cumsum(0) * store.step(device)
    assume(float(sums.abs().max()) <= 1)  # the bound of the device
    state, _ = asked(device, store, stream)
    want = sums[-1]
    torch.testing.assert_close(store.read(device, state), want, rtol=0, atol=1e-12)
    assert float(state["digits"][0]["w"].abs().max()) <= 1 + 1e-12


def test_driven_in_one_direction_the_least_digit_keeps_its_room_at_the_bound_and_not_beyond():
    """Up to the bound of the period no pulse is lost; one step more than it is refused."""
    device = ConstantStep(dw_min=0.02)
    store = Positional(digits=3, base=10, period=40)  # (40 + 10) 0.02 = 1
    state, _ = asked(device, store, [[1, -1, 0]] * 400)
    want = torch.tensor([400.0, -400.0, 0.0], dtype=torch.float64) * store.step(device)
    torch.testing.assert_close(store.read(device, state), want, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="must not exceed"):
        asked(device, Positional(digits=3, base=10, period=41), [])


def test_carry_with_reset_is_right_on_average():
    """Digits go to zero and W is kept in the mean: 20000 weights, four standard errors of one step by chance."""
    device, store, rng = ConstantStep(dw_min=0.02), Positional(2, 4, 10, reset=True), dice()
    state = store.init(device, torch.zeros(20000, dtype=torch.float64), rng)
    for _ in range(10):
        store.pulse(device, state, torch.ones(20000, dtype=torch.float64), rng)
        store.tick(device, state, rng)
    assert not state["digits"][0]["w"].any()
    w = store.read(device, state)
    assert float(w.mean()) == pytest.approx(10 * store.step(device), abs=4 * 0.02 * 0.5 / 20000**0.5)
    assert float(w.std()) > 0


def test_digits_that_took_no_pulse_are_left_alone():
    device = ConstantStep(dw_min=0.01, dw_min_std=3.0, write_noise=50.0)
    for reset in (False, True):
        store, rng = Positional(period=1, reset=reset), dice()
        state = store.init(device, torch.tensor([0.3, -0.1]), rng)
        before = store.read(device, state).clone()
        for _ in range(5):
            store.pulse(device, state, torch.tensor([1.0, 0.0]), rng)
            store.tick(device, state, rng)
        after = store.read(device, state)
        assert after[1] == before[1]
        assert after[0] != before[0]
        for _ in range(3):  # what was carried is settled, through all digits
            store.tick(device, state, rng)
        settled = store.read(device, state).clone()
        store.tick(device, state, rng)
        assert torch.equal(store.read(device, state), settled)


def test_digits_share_what_one_cell_cannot_hold():
    """Three levels alone hold -1, 0 and 1; the digits below take the rest."""
    device, store = ConstantStep(dw_min=0.2, levels=11), Positional(digits=3, base=2, period=2)
    state = store.init(device, torch.tensor([0.35, -0.51], dtype=torch.float64), dice())
    torch.testing.assert_close(store.read(device, state), torch.tensor([0.35, -0.5], dtype=torch.float64))


@pytest.mark.parametrize("store", [Direct(), AccumulateAndCarry(), Positional(period=10)], ids=["direct", "A", "B"])
@pytest.mark.parametrize("device", [NOISY, DifferentialPair(NOISY)], ids=["cell", "pair"])
def test_what_will_have_drifted_is_what_does_drift(device, store):
    rng = dice()
    state = store.init(device, torch.tensor([0.3, -0.1, 0.0]), rng)
    ahead = store.drifted(device, state, 3)
    for _ in range(3):
        store.tick(device, state, rng)
    torch.testing.assert_close(store.read(device, state), ahead)
    assert not torch.equal(ahead, store.drifted(device, state, 3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AccumulateAndCarry(threshold=0), "threshold=0: give at least 1"),
        (lambda: AccumulateAndCarry(period=0), "period=0: give at least 1"),
        (lambda: Positional(period=0), "period=0: give at least 1"),
        (lambda: Positional(threshold=0), "threshold=0: give at least 1"),
        (lambda: Positional(digits=1), "digits=1: a positional store needs 2 or more"),
        (lambda: Positional(base=1), "base=1: the digits of a number need a base of at least 2"),
        (
            lambda: Positional(period=100).init(DEVICES["ideal"], torch.zeros(1), dice()),
            r"period=100, base=4, threshold=1 and a device of step 0.01: \(period / threshold \+ base\) \* step = 1.04 "
            "must not exceed the bound 1, .* set period to at most 96",
        ),
        (
            lambda: Positional(period=2).init(DEVICES["reram_array_hfo2"], torch.zeros(1), dice()),
            "keep base below 2.16, or take a device of smaller steps",
        ),
    ],
)
def test_bad_settings_are_refused_with_a_way_out(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_stores_by_name():
    assert {name: make() for name, make in STORES.items()} == {
        "direct": AccumulateAndCarry(1, 1),
        "accumulate_and_carry": AccumulateAndCarry(8, 10),
        "positional": Positional(3, 4, 100),
    }
