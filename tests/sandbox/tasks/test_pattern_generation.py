"""Pattern generation: the curves and spikes of the published code, and numbers at each step through the whole sandbox."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.tasks.checked import checked
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.loader import Loader
from sandbox.tasks.pattern_generation import PatternGeneration


def curve(weights, phases, cycles, steps):
    """A sum of sines, step by step, as published: from 0, and divided by its largest magnitude."""
    total = [
        sum(
            w * math.sin(p + 2 * math.pi * c * t / (steps - 1)) for w, p, c in zip(weights, phases, cycles, strict=True)
        )
        for t in range(steps)
    ]
    moved = [value - total[0] for value in total]
    return [value / max(map(abs, moved)) for value in moved]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 60), st.integers(1, 3), st.integers(1, 2))
def test_spikes_and_curves_are_drawn_as_published(seed, steps, outputs, patterns):
    data = PatternGeneration(steps=steps, outputs=outputs, patterns=patterns, train=2, seed=seed, inputs=7).load()
    dice = np.random.RandomState(seed)
    spikes = [[[dice.random_sample() < 0.05 for _ in range(7)] for _ in range(steps)] for _ in range(patterns)]
    assert data.test.x.tolist() == np.array(spikes, float).tolist()
    for pattern in range(patterns):
        for output in range(outputs):
            weights, phases = dice.uniform(0.5, 2, 4), dice.uniform(0, 2 * math.pi, 4)
            wanted = curve(weights, phases, (1, 2, 3, 5), steps)
            # float32 of numbers within -1..1, whose last bit is 6e-8
            assert data.test.y[pattern, :, output].tolist() == pytest.approx(wanted, abs=1e-7)


def test_an_epoch_shows_the_pattern_and_tests_are_the_pattern():
    data = checked(PatternGeneration(patterns=2, train=3, steps=20).load(), "pattern_generation")
    assert [len(split) for split in data[:3]] == [6, 2, 2]
    for row in range(6):
        assert torch.equal(data.train.x[row], data.test.x[row % 2])
        assert torch.equal(data.train.y[row], data.test.y[row % 2])
    batch = next(iter(Loader(data.train, AsRecorded(), 1)))
    assert (batch.x.shape, batch.targets.shape, batch.y) == ((20, 1, 100), (20, 1, 1), None)


@pytest.mark.parametrize("steps", [12, 43, 1000])
def test_one_group_of_the_clock_after_the_other(steps):
    task = PatternGeneration(input="clock", steps=steps, inputs=20, rate=200.0)
    spikes = task.load().test.x[0].unflatten(1, (5, 4))  # [steps, groups, inputs]
    assert torch.equal(spikes, spikes[..., :1].expand_as(spikes))  # those of a group fire together
    assert spikes[..., 0].sum(1).tolist() == [
        float(t % 5 == 0) for t in range(steps)
    ]  # every 5 ms, one group at a time
    groups = [int(at.argmax()) for at in spikes[..., 0] if at.any()]
    assert groups == sorted(groups)
    assert task.memory == -(-steps // 5)
    if steps >= 43:
        assert set(groups) == set(range(5))


def test_the_seed_is_the_pattern():
    one, same, other = (PatternGeneration(seed=seed, steps=30).load().checksum for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cycles": ()}, "cycles=(): give whole numbers of at least 1"),
        ({"cycles": (1, 0)}, "cycles=(1, 0): give whole numbers of at least 1"),
        ({"rate": 0.0}, "rate=0.0 Hz: give a rate above 0 and at most 1000 Hz"),
        ({"input": "clock", "patterns": 2}, "patterns=2 with input='clock': the clock is the same for all patterns"),
        ({"input": "clock", "inputs": 12}, "inputs=12 with input='clock': give a multiple of 5"),
        ({"input": "clok"}, "unknown input 'clok'; nearest: 'clock'"),
        ({"steps": 11}, "steps=11 are too few for 5 cycles: give more than 11"),
        ({"seed": 2**32}, "seed=4294967296: give a whole number from 0 to below"),
        ({"train": 0}, "train=0: give a whole number, at least 1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PatternGeneration(**options)
