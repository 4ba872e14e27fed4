"""Frames lose no event, whatever their windows, and count each where a plain loop does."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cameras import by_number, by_time, events_of, frames, in_windows

FAST = settings(deadline=None, max_examples=60)
SENSOR = (3, 4)
EMPTY = "no events to count in frames: the recording, or this part of it, is empty; leave it out"
EVENT = st.tuples(st.integers(0, 500), st.integers(0, 3), st.integers(0, 2), st.integers(0, 1))
ROWS = st.lists(EVENT, min_size=1, max_size=30)


def made(rows):
    return events_of(*zip(*rows, strict=True), sensor=SENSOR)


def counted(found, place, steps):
    """The frames of events whose places are known, by a loop."""
    wanted = np.zeros((steps, 2, *SENSOR), np.float32)
    for k, x, y, p in zip(place, found.x, found.y, found.p, strict=True):
        wanted[k, p, y, x] += 1
    return wanted


@FAST
@given(ROWS, st.integers(1, 200), st.none() | st.integers(1, 5), st.none() | st.just(0))
def test_windows_of_time(rows, window, steps, start):
    found = made(rows)
    begin = found.t[0] if start is None else 0
    place = [(t - begin) // window for t in found.t]
    steps_wanted = steps or place[-1] + 1
    got = by_time(found, window, steps=steps, start=start)
    assert np.array_equal(got, counted(found, [min(k, steps_wanted - 1) for k in place], steps_wanted))
    assert got.sum() == len(rows)
    assert got.dtype == np.float32


@FAST
@given(ROWS, st.integers(1, 40))
def test_groups_of_a_number(rows, number):
    found = made(rows)
    got = by_number(found, number)
    assert np.array_equal(got, counted(found, [k // number for k in range(len(rows))], -(-len(rows) // number)))
    assert (got[:-1].sum((1, 2, 3)) == number).all()


@FAST
@given(ROWS, st.integers(1, 6))
def test_a_number_of_frames(rows, steps):
    found = made(rows)
    for got in (in_windows(found, steps), *([by_number(found, steps=steps)] if steps <= len(rows) else [])):
        assert got.shape == (steps, 2, *SENSOR)
        assert got.sum() == len(rows)
    whole = counted(found, [0] * len(rows), 1)
    assert np.array_equal(got.sum(0, keepdims=True), whole)


@FAST
@given(ROWS, st.randoms())
def test_the_order_of_the_file_does_not_matter_to_windows_of_time(rows, dice):
    other = list(rows)
    dice.shuffle(other)
    assert np.array_equal(in_windows(made(rows), 3), in_windows(made(other), 3))
    assert np.array_equal(by_time(made(rows), 7), by_time(made(other), 7))


@FAST
@given(ROWS, st.integers(1, 1000))
def test_frames_from_the_first_event_ignore_when_a_recording_begins(rows, later):
    moved = [(t + later, x, y, p) for t, x, y, p in rows]
    assert np.array_equal(by_time(made(rows), 9), by_time(made(moved), 9))
    assert np.array_equal(in_windows(made(rows), 4), in_windows(made(moved), 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: by_time(e, 0), "window=0: give a whole number, at least 1"),
        (lambda e: by_time(e, 1, steps=0), "steps=0: give a whole number, at least 1"),
        (lambda e: by_time(e, 1, start=6), "start=6 us: the first event is at 5 us; give an earlier start, or None"),
        (lambda e: by_number(e), "number=None, steps=None: give the events of a frame, or the number of frames"),
        (lambda e: by_number(e, 1, steps=1), "number=1, steps=1: give the events of a frame, or the number of frames"),
        (lambda e: by_number(e, 0), "number=0: give a whole number, at least 1"),
        (lambda e: by_number(e, steps=3), "steps=3: the recording has 2 events; give as many frames or fewer"),
        (lambda e: in_windows(e, 0), "steps=0: give a whole number, at least 1"),
        (lambda e: by_time(e, 2.5), "window=2.5: give a whole number, at least 1"),
        (lambda e: by_time(e, 2**70), f"window={2**70}: give a whole number, at least 1, of at most 62 bits"),
        (lambda e: by_time(e, 1, start=-(10**30)), "us: give a whole number of at most 62 bits, or None"),
        (lambda e: by_time(e, 1, start=0.5), "start=0.5 us: give a whole number of at most 62 bits, or None"),
        (lambda e: by_time(e.between(8, 9), 1), EMPTY + "; or give start and steps, for frames of zeros"),
        (lambda e: by_time(e.between(8, 9), 1, steps=2), EMPTY),
        (lambda e: by_time(e.between(8, 9), 1, start=8), EMPTY),
        (lambda e: by_number(e.between(8, 9), 1), EMPTY),
        (lambda e: by_number(e.between(8, 9), steps=1), "steps=1: the recording has 0 events"),
        (lambda e: in_windows(e.between(8, 9), 1), EMPTY),
    ],
)
def test_bad_windows_are_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(made([(5, 0, 0, 1), (6, 1, 1, 0)]))


def test_times_of_few_bits_do_not_wrap():
    found = made([(250, 0, 0, 1), (254, 1, 1, 0)])
    narrow = found._replace(t=found.t.astype(np.uint8))
    assert np.array_equal(by_time(narrow, 400, start=-300), by_time(found, 400, start=-300))
    assert by_time(found, 400, start=-300).sum((1, 2, 3)).tolist() == [0, 2]


def test_an_empty_part_has_frames_of_zeros_where_these_are_said():
    found = by_time(made([(5, 0, 0, 1)]).between(8, 9), 1, start=8, steps=2)
    assert found.shape == (2, 2, *SENSOR)
    assert not found.any()


def test_frames_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(frames, "MOST", 100)
    with pytest.raises(ValueError, match=r"21 frames of 3 x 4 pixels take 0 GiB: give longer windows, or fewer frames"):
        by_time(made([(0, 0, 0, 1), (20, 1, 1, 0)]), 1)
