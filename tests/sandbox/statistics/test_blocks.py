"""Replicates: seeds that share a search of tuning count as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sandbox.statistics import block_means, every_pair, interval, verdicts


def test_a_block_is_the_mean_of_its_seeds():
    assert block_means([1.0, 2.0, 6.0], of=["a", "b", "a"]) == [3.5, 2.0]
    assert block_means([1.0, 2.0]) == [1.0, 2.0]
    with pytest.raises(ValueError, match="3 values in the blocks of 2: give the block of each value"):
        block_means([1.0, 2.0, 3.0], of=[0, 1])


def test_verdicts_over_searches_are_those_of_the_means_of_searches():
    """By hand: eight searches with two seeds each; sixteen seeds would be sixteen pairs."""
    rng = np.random.default_rng(0)
    ours, base, of = rng.normal(1.0, 0.3, 16), rng.normal(0.0, 0.3, 16), [n % 8 for n in range(16)]
    found = verdicts(base, {"ours": ours}, "base", of)["ours"]
    differences = (ours - base).reshape(2, 8).mean(0)
    assert found.difference == pytest.approx(interval(differences))
    assert found.p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.words == "above base"
    assert verdicts(base, {"ours": ours}, "base")["ours"].p < found.p
    assert every_pair({"ours": list(ours), "base": list(base)}, of)["ours", "base"] == found


def test_too_few_searches_are_named():
    words = verdicts([0.0] * 12, {"ours": [1.0 + n for n in range(12)]}, "base", [0, 1, 2, 3] * 3)["ours"].words
    assert words == "too few searches: with 4 no difference can reach p < 0.05; at least 6 are needed"


def test_differences_are_ranked_as_whole_numbers_of_answers():
    """The percentages of 300 answers differ in their last bits where counts tie; p is that of the counts."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        ours, base = rng.integers(200, 212, (2, 10))
        found = verdicts([100 * (k / 300) for k in base], {"ours": [100 * (k / 300) for k in ours]}, answers=300)
        by_count = verdicts(list(base), {"ours": list(ours)})
        assert found["ours"].p == by_count["ours"].p


def test_percentages_of_another_number_of_answers_are_refused():
    with pytest.raises(ValueError, match="answers=3: the values are percentages of so many answers, unlike"):
        verdicts([50.0] * 6, {"ours": [25.0] * 6}, answers=3)
