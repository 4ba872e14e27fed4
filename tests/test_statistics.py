"""Intervals held to SciPy, to symmetry and to simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from sandbox.statistics import bootstrap, paired


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    """400 simulated studies of 10 normal values: BCa covers a little under 95 %; 3 standard errors are 3.3 %."""
    rng = np.random.default_rng(0)
    covered = [(i := bootstrap(rng.normal(size=10), draws=999)).low <= 0 <= i.high for _ in range(400)]
    assert 0.86 < np.mean(covered) < 0.98


def test_it_is_the_same_twice_and_moves_with_the_data():
    values = [91.0, 93.5, 92.0, 95.0, 94.0]
    assert bootstrap(values) == bootstrap(values)
    shifted = bootstrap([v + 10 for v in values])
    assert shifted.low == pytest.approx(bootstrap(values).low + 10)


def test_degenerate_cases():
    assert bootstrap([3.0, 3.0]) == (3.0, 3.0, 3.0)
    assert math.isnan(bootstrap([3.0]).low)
    assert str(bootstrap([3.0])) == "3.00 (one seed)"
    with pytest.raises(ValueError, match="no values: an interval needs at least one"):
        bootstrap([])


def test_the_paired_test_counts_sign_patterns():
    """The exact null distribution by brute force: every pattern of signs of the ranks 1 to n is as likely."""
    differences = [0.3, -0.1, 0.8, 0.5, 0.2]
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = sum(rank for rank, d in zip(ranks, differences) if d > 0)
    sums = [sum(r for r, s in zip(ranks, signs) if s) for signs in itertools.product([False, True], repeat=5)]
    p = np.mean([total >= observed for total in sums])
    assert paired(differences, [0.0] * 5).p == pytest.approx(p)
    assert paired([0.0] * 5, differences).p > 0.5


def test_no_difference_is_no_evidence():
    same = paired([1.0, 2.0], [1.0, 2.0])
    assert (same.p, same.difference) == (1.0, (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])
