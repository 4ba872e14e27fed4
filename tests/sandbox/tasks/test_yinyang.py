"""Yin-Yang is the authors' data set, bit for bit, and the geometry it claims to be."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandbox.tasks.files import card_folder
from sandbox.tasks.yinyang import YinYang, class_of, sample

# SHA-256 of the array bytes in publication_data/*.npy of github.com/lkriener/yin_yang_data_set at commit e6eef96: read
# with numpy.load and hashed, without running any code of ours.
PUBLISHED = {
    (5000, 42): (
        "f5a4054d56f2a058f8250fba7ff9720458e1625db7af78a295e45701745b2228",
        "534d12acda4f9dbc7208a99d3646115a4aa7d74ca31d6d23f822079a568559b7",
    ),
    (1000, 41): (
        "5eac358bdf2122763dce3703a79f3005e56e46a4db25ec329a07333d0f7b8093",
        "5a4c2f605814a620f514c1091f10441ce562cd81e902ce701b3cf94ae7576f7d",
    ),
    (1000, 40): (
        "7bab3ed668ed4992679cff6339fe21bfe7d0c921ddc6187eaa3bc6ef34b888d7",
        "daa0f8f4e3b37b1ddec2afee22f09afb768f0e575f3f568e7469f1ebc6af73c1",
    ),
}
SEEDS = st.integers(0, 2**32 - 1)


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()


def region(x, y):
    """The class from squared distances: dots first, then which of the two interlocking halves."""
    left, right = (x - 0.25) ** 2 + (y - 0.5) ** 2, (x - 0.75) ** 2 + (y - 0.5) ** 2
    if min(left, right) < 0.1**2:
        return 2
    return 1 if left <= 0.25**2 or (y > 0.5 and right > 0.25**2) else 0


def brute_force(size, seed):
    """The published procedure with one scalar draw at a time, and `region` for the classes."""
    dice, rows, labels = np.random.RandomState(seed), [], []
    for _ in range(size):
        goal, found = dice.randint(3), None
        while found != goal:
            x, y = dice.random_sample(), dice.random_sample()
            found = region(x, y) if (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25 else None
        rows.append((x, y, 1 - x, 1 - y))
        labels.append(goal)
    return np.array(rows), np.array(labels)


@pytest.mark.parametrize(("size", "seed"), PUBLISHED)
def test_arrays_are_the_published_ones(size, seed):
    features, labels = sample(size, seed)
    assert (digest(features), digest(labels)) == PUBLISHED[size, seed]
    assert (features.dtype, labels.dtype) == (np.float64, np.int64)


def test_card_states_the_published_checksums():
    card = yaml.safe_load((card_folder("yinyang") / "card.yaml").read_text())
    stated = [(entry["samples"], entry["labels"]) for entry in card["arrays"].values()]
    assert stated == list(PUBLISHED.values())


@pytest.mark.parametrize("seed", [0, 7, 42])
def test_sampler_agrees_with_brute_force(seed):
    features, labels = sample(300, seed)
    expected, classes = brute_force(300, seed)
    assert np.array_equal(features, expected)
    assert np.array_equal(labels, classes)


@given(seed=SEEDS, size=st.integers(1, 30))
def test_every_point_is_in_the_circle_and_of_its_class(seed, size):
    features, labels = sample(size, seed)
    x, y = features[:, 0], features[:, 1]
    # 1e-15: the sampler compares the root and this line the square, so a point on the rim may differ by rounding
    assert ((x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25 + 1e-15).all()
    assert np.array_equal(features[:, 2:], 1 - features[:, :2])
    assert [class_of(*point) for point in features[:, :2]] == labels.tolist()


@given(seed=SEEDS)
def test_half_a_turn_swaps_yin_and_yang(seed):
    features, labels = sample(20, seed)
    turned = [class_of(*point) for point in features[:, 2:]]
    assert turned == [{0: 1, 1: 0, 2: 2}[label] for label in labels.tolist()]


@given(seed=SEEDS, short=st.integers(1, 10))
def test_a_smaller_sample_is_the_beginning_of_a_larger_one(seed, short):
    (features, labels), (more, classes) = sample(short, seed), sample(20, seed)
    assert np.array_equal(features, more[:short])
    assert np.array_equal(labels, classes[:short])


def test_splits_are_the_three_seeds_in_order():
    data = YinYang(train=30, validation=20, test=10).load()
    for split, (size, seed) in zip(data[:3], ((30, 42), (20, 41), (10, 40)), strict=True):
        features, labels = sample(size, seed)
        assert torch.equal(split.x, torch.from_numpy(features).float())
        assert torch.equal(split.y, torch.from_numpy(labels))
    assert (data.classes, data.shape) == (3, (4,))


def test_checksum_follows_the_data():
    small = YinYang(train=5, validation=5, test=5)
    assert small.load().checksum == small.load().checksum
    assert small.load().checksum != YinYang(train=6, validation=5, test=5).load().checksum


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_a_split_without_samples_is_refused(name):
    with pytest.raises(ValueError, match=re.escape(f"{name}=0: give a whole number, at least 1")):
        YinYang(**{name: 0})


def test_a_sample_of_no_points_is_refused():
    with pytest.raises(ValueError, match=re.escape("size=-3: give a whole number, at least 1")):
        sample(-3, seed=0)
