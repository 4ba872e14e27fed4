"""Randman: the manifolds of the published code, one spike a unit, and smoothness."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.tasks.checked import checked
from sandbox.tasks.randman import Randman, manifold

SEEDS = st.integers(0, 2**31)
FAST = settings(max_examples=20, deadline=None)
AUTHORS_TIMES = [[74, 19, 27, 58, 63], [42, 82, 94, 83, 27], [46, 42, 40, 68, 22], [34, 69, 75, 81, 0]]
AUTHORS_CLASSES = [1, 0, 1, 0, 2, 0, 1, 0, 2, 0, 2, 2]


@FAST
@given(SEEDS, st.integers(1, 3), st.sampled_from([1.5, 2.0, 3.0]))
def test_coordinates_are_the_published_sums_of_sines(seed, dim, alpha):
    """Term by term in float64, from the numbers that torch draws from the seed."""
    torch.manual_seed(seed)
    count = math.ceil(1000 ** (1 / alpha) - 1e-9)
    drawn = torch.rand(2, dim, 3, count).tolist()
    points = torch.rand(3, dim)
    found = manifold(points, 2, alpha, seed)
    for row, point in enumerate(points.tolist()):
        for unit in range(2):
            product = 1.0
            for x, (heights, stretches, shifts) in zip(point, drawn[unit], strict=True):
                product *= sum(
                    heights[k] / ((k + 1) ** alpha + 1) * math.sin(2 * math.pi * (k * x * stretches[k] + shifts[k]))
                    for k in range(1, count)
                )
            # float32: sines of angles up to 2 pi 100 err by 4e-5, under heights that add up to less than 1
            assert found[row, unit].item() == pytest.approx(product, abs=1e-4)


@FAST
@given(SEEDS, st.integers(2, 4), st.integers(1, 40))
def test_each_unit_fires_once(seed, classes, steps):
    data = checked(Randman(classes=classes, units=7, samples=20, steps=steps, seed=seed).load(), "randman")
    sizes = [len(split) for split in data[:3]]
    assert sum(sizes) == 20 * classes
    for split in data[:3]:
        x, _ = split.take(torch.arange(len(split)), torch.Generator())
        assert x.shape == (len(split), steps, 7)
        assert torch.equal(x.sum(1), torch.ones(len(split), 7))


def test_times_of_a_class_reach_from_the_first_step_to_the_last():
    times, y = Randman(classes=3, units=6, samples=200, steps=50).drawn()
    for label in range(3):
        mine = times[y == label]
        assert len(mine) == 200
        assert mine.min(0).values.eq(0).all()
        assert mine.max(0).values.eq(49).all()


def test_larger_alpha_is_smoother_and_neighbours_stay_neighbours():
    near = torch.stack([torch.linspace(0, 1, 2001), torch.full((2001,), 0.3)], 1)

    def roughness(alpha):
        """The largest step between neighbours, relative to the range, for the median unit."""
        y = manifold(near, 60, alpha, seed=5)
        return float((y.diff(dim=0).abs().max(0).values / (y.max(0).values - y.min(0).values)).median())

    assert roughness(1.1) > 3 * roughness(2.0) > 3 * roughness(3.0)
    assert roughness(2.0) < 0.05  # 2,000 steps: a curve, not noise, whose neighbours differ by a third of the range


def test_times_are_those_of_the_authors_code():
    """Steps of the first four samples that a transcription, line by line, of the authors' code and notebook draws."""
    times, y = Randman(classes=3, units=5, samples=10, steps=100, seed=42).drawn()
    assert times[:4].tolist() == AUTHORS_TIMES
    assert y[:12].tolist() == AUTHORS_CLASSES


def test_the_seed_is_the_data_and_splits_share_no_sample():
    one, same, other = (Randman(classes=2, samples=30, seed=seed).load() for seed in (1, 1, 2))
    assert one.checksum == same.checksum != other.checksum
    found = [row.numpy().tobytes() for split in one[:3] for row in split.times]
    assert len(set(found)) == 60
    whole = one.test.take(torch.arange(12), torch.Generator())[0]
    assert torch.equal(one.test.take(torch.tensor([5, 0]), torch.Generator())[0], whole[[5, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "classes=1: give a number of at least 2"),
        ({"alpha": 0.0}, "alpha=0.0: give a number above 0, such as 1.0"),
        ({"samples": 4}, "samples=4: give a number of at least 5"),
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"seed": 2**32}, "seed=4294967296: give a whole number from 0 to below"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Randman(**options)
