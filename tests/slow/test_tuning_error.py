"""Simulated grids with errors of tuning: how often verdicts are false, and how often intervals cover.

An accuracy is a binomial count, whose chance of a right answer is the rule's, moved by the seed (all rules alike), by the
search that found the options (3 points, as measured between two searches of one rule), and by the run.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sandbox.statistics import block_means, bootstrap, interquartile_mean, interval, verdicts

pytestmark = pytest.mark.slow

SAMPLES, TUNING, SEED, RUN = 400, 3.0, 2.0, 1.0  # answers; standard deviations [points]
SEARCHES, TASKS, RULES = 13, 4, 5


def accuracies(rng, shape, of, tuning=TUNING):
    """Accuracies [%] of shape [..., rule, seed], of rules that are all equally good; `of` is the search of each seed."""
    *outer, rules, seeds = shape
    found = rng.normal(0.0, tuning, (*outer, rules, max(of) + 1))[..., of]
    found = found + rng.normal(0.0, SEED, (*outer, 1, seeds)) + rng.normal(0.0, RUN, shape)
    return 100 * rng.binomial(SAMPLES, np.clip(0.85 + found / 100, 0.0, 1.0)) / SAMPLES


def within_binomial(count, of, share):
    """Whether a count is not above what a share allows in 99.9 % of simulations of so many grids."""
    return count <= stats.binom.ppf(0.999, of, share)


def test_grids_of_equal_rules_seldom_have_a_verdict():
    """Over four tasks with thirteen searches each: any rule above or below the first in at most 5 % of 400 grids."""
    rng = np.random.default_rng(0)
    alarms = 0
    for grid in accuracies(rng, (400, TASKS, RULES, SEARCHES), list(range(SEARCHES))):
        pooled = grid.transpose(1, 0, 2).reshape(RULES, -1)
        found = verdicts(pooled[0], {str(rule): pooled[rule] for rule in range(1, RULES)})
        alarms += any(each.words.startswith(("above", "below")) for each in found.values())
    assert within_binomial(alarms, 400, 0.05)


def test_grids_that_ignore_searches_often_have_one():
    """Twelve seeds that share three searches are taken for twelve replicates: a false verdict in over 15 % of grids."""
    rng, of = np.random.default_rng(1), [n % 3 for n in range(12)]
    alarms = 0
    for grid in accuracies(rng, (400, RULES, 12), of):
        found = verdicts(grid[0], {str(rule): grid[rule] for rule in range(1, RULES)})
        alarms += any(each.words.startswith(("above", "below")) for each in found.values())
    assert alarms > 60


def covered(rng, of, replicates, studies=2000):
    """How often the interval of the difference of two equal rules holds 0, over replicates or over seeds."""
    grids = accuracies(rng, (studies, 2, len(of)), of)
    found = (interval(block_means(one - two, of if replicates else None)) for one, two in grids)
    return float(np.mean([low <= 0 <= high for _, low, high in found]))


def test_intervals_over_searches_cover_and_intervals_over_seeds_do_not():
    """The standard error of a coverage over 2,000 studies is half a point."""
    of = [n % 5 for n in range(15)]
    assert 0.92 < covered(np.random.default_rng(2), of, replicates=True) < 0.98
    assert covered(np.random.default_rng(2), of, replicates=False) < 0.92


def test_intervals_over_seeds_with_a_search_each_cover():
    assert 0.92 < covered(np.random.default_rng(3), list(range(13)), replicates=True) < 0.98


def test_the_bootstrap_over_searches_covers():
    """Of the interquartile mean over four tasks; 300 studies, whose standard error is 1.3 points."""
    rng, of = np.random.default_rng(4), [n % 8 for n in range(16)]
    hits = 0
    for tasks in accuracies(rng, (300, TASKS, 2, 16), of):
        strata = [block_means(one - two, of) for one, two in tasks]
        found = bootstrap(*strata, statistic=interquartile_mean, draws=499)
        hits += found.low <= 0 <= found.high
    assert abs(hits / 300 - 0.95) < 3.3 * math.sqrt(0.05 * 0.95 / 300)
