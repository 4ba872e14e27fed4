"""The simulated camera against a loop over pixels, events and levels, and where its events can be counted by hand."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cameras.simulator import simulated

FAST = settings(deadline=None, max_examples=100)


def loop(light, times, on, off):
    """One event at a time, for each pixel alone."""
    found = []
    frames, height, width = light.shape
    for y in range(height):
        for x in range(width):
            level = math.log(light[0, y, x])
            for k in range(1, frames):
                before, after = math.log(light[k - 1, y, x]), math.log(light[k, y, x])
                while True:
                    if after - level >= on[y, x] * (1 - 1e-9):
                        level, p = level + on[y, x], 1
                    elif level - after >= off[y, x] * (1 - 1e-9):
                        level, p = level - off[y, x], 0
                    else:
                        break
                    t = times[k - 1] + (times[k] - times[k - 1]) * (level - before) / (after - before)
                    found.append((t, x, y, p))
    return found


@FAST
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.booleans())
def test_events_are_those_of_a_loop(seed, frames, returns):
    dice = np.random.default_rng(seed)
    light = np.exp(dice.normal(0, 1, (frames, 2, 3)))
    if returns:  # to the first level, whatever the last bits
        light[-1] = light[0]
    light[:, 1, 1] = dice.choice([0.2, 1.0], frames)
    light[0, 0, 0], light[1, 0, 0] = 0.01, 3.0  # so that some pixel fires
    on, off = dice.uniform(0.1, 0.5, (2, 2, 3))
    off[0] = on[0]
    times = np.cumsum(dice.integers(1, 5000, frames))
    found = simulated(light, times, on, off)
    wanted = loop(light, times, on, off)
    for y in range(2):
        for x in range(3):
            here = (found.x == x) & (found.y == y)
            single = [(t, p) for t, a, b, p in wanted if (a, b) == (x, y)]
            assert found.p[here].tolist() == [p for _, p in single]
            gaps = np.array([t for t, _ in single]) - found.t[here]
            assert ((gaps > -1e-6) & (gaps < 1 + 1e-6)).all()  # rounded down to us


def test_events_of_a_step_can_be_counted():
    light = np.ones((2, 2, 2))
    light[1] = [[math.exp(1.05), math.exp(-1.05)], [1.0, math.exp(0.09)]]
    found = simulated(light, np.array([0, 10_500]), on=0.1, off=0.2)
    assert found.t[(found.x == 0) & (found.y == 0)].tolist() == [1000 * k for k in range(1, 11)]
    assert found.t[(found.x == 1) & (found.y == 0)].tolist() == [2000 * k for k in range(1, 6)]
    assert found.p[found.x == 1].tolist() == [0] * 5
    assert (found.y == 0).all()  # the lower pixels change by less than a threshold


def test_brightness_matters_by_its_ratio_alone():
    light = np.exp(np.random.default_rng(0).normal(0, 1, (5, 4, 4)))
    times = np.arange(5) * 1000
    dim, bright = simulated(light, times, 0.3, 0.3), simulated(1000 * light, times, 0.3, 0.3)
    assert np.array_equal(dim.p, bright.p)
    assert np.abs(dim.t - bright.t).max() <= 1  # logarithms differ in their last bits


def test_noise_has_its_rate_and_leaves_levels_alone():
    light = np.ones((3, 50, 50))
    found = simulated(light, np.array([0, 400_000, 1_000_000]), 1.0, 1.0, noise=4.0, dice=np.random.default_rng(1))
    assert found.number == pytest.approx(10_000, abs=5 * 100)  # Poisson: five standard deviations
    assert found.p.mean() == pytest.approx(0.5, abs=5 * 0.005)
    light[2, 0, 0] = math.exp(1.5)
    quiet = simulated(light, np.array([0, 400_000, 1_000_000]), 1.0, 1.0)
    loud = simulated(light, np.array([0, 400_000, 1_000_000]), 1.0, 1.0, noise=4.0, dice=np.random.default_rng(1))
    assert (quiet.number, loud.number) == (1, found.number + 1)


LIGHT = np.array([1.0, 4.0]).reshape(2, 1, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulated(LIGHT[:1], np.array([0]), 1, 1), "wanted [K, height, width] and [K], of at least 2 frames"),
        (lambda: simulated(LIGHT, np.array([0, 1, 2]), 1, 1), "brightness has shape (2, 1, 1) and times (3,)"),
        (lambda: simulated(0 * LIGHT, np.array([0, 1]), 1, 1), "brightness is 0.0 at least; wanted numbers above 0"),
        (lambda: simulated(LIGHT, np.array([1, 1]), 1, 1), "times do not rise, or are not whole numbers"),
        (lambda: simulated(LIGHT, np.array([0.0, 1.0]), 1, 1), "times do not rise, or are not whole numbers"),
        (lambda: simulated(LIGHT, np.array([0, 1]), 0, 1), "on=0: give a threshold above 0"),
        (lambda: simulated(LIGHT, np.array([0, 1]), 1, [[-0.1]]), "off=-0.1: give a threshold above 0"),
        (lambda: simulated(LIGHT, np.array([0, 1]), 1, 1, noise=2.0), "noise=2.0 Hz: give a rate of at least 0, and a"),
        (
            lambda: simulated(LIGHT, np.array([0, 1]), 2, 3),
            "no pixel fires: from the first frame on, log brightness rises by 1.39 and falls by 0 at most, and "
            "thresholds are at least 2 (on) and 3 (off): give lower thresholds, or frames of more contrast",
        ),
        (lambda: simulated(LIGHT * [[[np.inf]]], np.array([0, 1]), 1, 1), "brightness is inf at most; wanted finite"),
        (lambda: simulated(LIGHT[:, :0], np.array([0, 1]), 1, 1), "brightness has shape (2, 0, 1)"),
        (lambda: simulated(LIGHT + 0j, np.array([0, 1]), 1, 1), "brightness is of type complex128; wanted an array of"),
        (
            lambda: simulated(LIGHT, np.array([0, 1]), [1, 2], 1),
            "on has shape (2,); give a number, or one for each pixel",
        ),
        (
            lambda: simulated(torch.tensor(LIGHT, requires_grad=True), np.array([0, 1]), 1, 1),
            "for a tensor give brightness.detach().cpu().numpy()",
        ),
        (
            lambda: simulated(LIGHT, np.array([2, 1], np.uint64), 1, 1),
            "times do not rise, or are not whole numbers; wanted the us of each frame",
        ),
        (
            lambda: simulated(LIGHT, np.array([0, 1]), 1e-300, 1),
            "there would be 1.4e+300 events or more; wanted 33554432 at most: give higher thresholds",
        ),
        (
            lambda: simulated(LIGHT, np.array([0, 1000]), 1, 1, noise=1e15, dice=np.random.default_rng(0)),
            "there would be 1e+12 events or more; wanted 33554432 at most",
        ),
    ],
)
def test_what_cannot_be_simulated_is_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_tensors_are_simulated_as_arrays_are():
    found = simulated(torch.tensor(LIGHT), torch.tensor([0, 1000]), torch.tensor(0.4), torch.tensor([[0.4]]))
    assert found.t.tolist() == [288, 577, 865]  # as in the docstring


def test_times_of_few_bits_do_not_wrap():
    light = np.concatenate([LIGHT, LIGHT[1:]])
    narrow, wide = (simulated(light, np.array([0, 200, 250], kind), 0.4, 0.4) for kind in (np.uint8, np.int64))
    assert narrow.t.tolist() == wide.t.tolist() == [57, 115, 173]
    found = simulated(LIGHT, np.array([-30_000, 30_000], np.int16), 1.3, 1.3)
    assert found.t.tolist() == [math.floor(-30_000 + 60_000 * 1.3 / math.log(4))]
