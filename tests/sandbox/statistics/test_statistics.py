"""Intervals and tests checked against SciPy, brute force, printed tables and simulated studies."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sandbox.statistics import (
    area,
    bootstrap,
    effect_size,
    every_pair,
    holm,
    interquartile_mean,
    interval,
    paired,
    profile,
    seeds_needed,
    verdicts,
)

STUDIES = 2000  # whose standard error of a coverage of 95 % is half a percent


def coverage(intervals, truth=0.0):
    return np.mean([low <= truth <= high for _, low, high in intervals])


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_of_a_mean_covers_it_as_often_as_it_says(seeds):
    rng = np.random.default_rng(0)
    assert 0.93 < coverage(interval(rng.normal(size=seeds)) for _ in range(STUDIES)) < 0.97


def test_a_plain_bootstrap_of_five_seeds_does_not():
    """Why means have Student's interval: BCa at its own word, which covers 84 %; four standard errors are 3 %."""
    rng = np.random.default_rng(0)
    found = stats.bootstrap((rng.normal(size=(STUDIES, 5)),), np.mean, axis=1, n_resamples=999, rng=rng)
    low, high = found.confidence_interval
    assert 0.80 < np.mean((low <= 0) & (high >= 0)) < 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("tasks", "seeds"), [(1, 10), (4, 3), (4, 5)])
@pytest.mark.parametrize("statistic", [np.mean, interquartile_mean])
def test_the_stratified_bootstrap_covers_as_often_as_it_says(tasks, seeds, statistic):
    rng = np.random.default_rng(0)
    studies = (rng.normal(size=(tasks, seeds)) for _ in range(STUDIES))
    assert 0.93 < coverage(bootstrap(*study, statistic=statistic, draws=999) for study in studies) < 0.97


def test_strata_that_lie_apart_do_not_widen_the_interval():
    """Differences in difficulty between tasks do not count as spread of seeds, as they would in one pooled sample."""
    easy, hard = [95.0, 96.0, 97.0, 95.5], [51.0, 52.0, 50.5, 51.5]
    apart, together = bootstrap(easy, hard), bootstrap([*easy, *hard])
    assert apart.mean == together.mean
    assert 10 * (apart.high - apart.low) < together.high - together.low


def test_a_widened_bootstrap_of_many_values_is_scipys():
    values = np.random.default_rng(0).normal(size=2000)
    found = stats.bootstrap((values,), np.mean, rng=np.random.default_rng(0)).confidence_interval
    width = found.high - found.low
    assert bootstrap(values) == pytest.approx((values.mean(), found.low, found.high), abs=0.02 * width)


def test_students_interval_is_scipys():
    values = [91.0, 93.5, 92.0, 95.0, 94.0]
    found = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert interval(values) == pytest.approx((np.mean(values), found.low, found.high), rel=1e-12)


def test_it_is_the_same_twice_and_moves_with_the_data():
    values = [91.0, 93.5, 92.0, 95.0, 94.0]
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap([v + 10 for v in values]).low == pytest.approx(bootstrap(values).low + 10)


@pytest.mark.parametrize("kind", [interval, bootstrap])
def test_degenerate_cases(kind):
    assert kind([3.0, 3.0, 3.0]) == (3.0, 3.0, 3.0)
    assert math.isnan(kind([3.0, 4.0]).low)
    assert str(kind([3.0])) == "3.00 (no interval: fewer than 3 seeds)"
    with pytest.raises(ValueError, match="no values: an interval needs at least one"):
        kind([])


def test_the_interquartile_mean_by_hand():
    values = [9.0, 1.0, 5.0, 4.0, 3.0, 7.0, 8.0, 2.0]
    assert interquartile_mean(values) == np.mean(sorted(values)[2:6])
    assert interquartile_mean(np.array([values, values]), axis=1).tolist() == [4.75, 4.75]


def test_the_paired_test_counts_sign_patterns():
    """The exact null distribution by brute force: every pattern of signs of the ranks 1 to n is as likely."""
    differences = [0.3, -0.1, 0.8, 0.5, 0.2]
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    observed = sum(rank for rank, d in zip(ranks, differences) if d > 0)
    sums = [sum(r for r, s in zip(ranks, signs) if s) for signs in itertools.product([False, True], repeat=5)]
    p = np.mean([total >= observed for total in sums])
    assert paired(differences, [0.0] * 5).p == pytest.approx(p)
    assert paired([0.0] * 5, differences).p > 0.5
    assert paired(differences, [0.0] * 5, "two-sided").p == pytest.approx(2 * p)


def test_no_difference_is_no_evidence():
    same = paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (same.p, same.difference) == (1.0, (0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="zip"):
        paired([1.0], [1.0, 2.0])


def test_holm_by_its_definition():
    """Step down: reject while p(k) < level / (m - k + 1), for every level at once."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(size=6) ** 3
        adjusted = holm(p)
        for level in rng.uniform(size=20):
            rejected = set()
            for rank, place in enumerate(np.argsort(p)):
                if p[place] >= level / (len(p) - rank):
                    break
                rejected.add(place)
            assert {place for place, q in enumerate(adjusted) if q < level} == rejected


def test_seeds_needed_find_what_was_wished_for_as_often_as_promised():
    """Simulated studies of so many pairs; the standard error of a power of 80 % over 4,000 of them is 0.6 %."""
    rng = np.random.default_rng(0)
    differences = rng.normal(size=9)
    spread = float(np.std(differences, ddof=1))
    n = seeds_needed(differences, wished=0.8)
    for pairs, enough in ((n, True), (n - 1, False)):
        studies = rng.normal(0.8, spread, size=(4000, pairs))
        power = np.mean(stats.ttest_1samp(studies, 0.0, axis=1).pvalue < 0.05)
        assert (power > 0.8 - 0.02) if enough else (power < 0.8 + 0.02)
    assert seeds_needed(differences, 0.8, comparisons=10) > n
    assert seeds_needed([1.0, 1.0, 1.0], 0.5) == 3
    assert (
        seeds_needed([100 * (n + 10) / 300 - 100 * n / 300 for n in (170, 181, 190, 200)], 10 / 3) == 3
    )  # to rounding


@pytest.mark.parametrize(
    ("differences", "wished", "message"),
    [
        ([1.0, 2.0], 1.0, "give at least 3"),
        ([1.0, 2.0, 4.0], 0.0, "not 0"),
        ([1.0, -9.0, 4.0], 1e-6, "1000"),
    ],
)
def test_wishes_that_cannot_be_granted(differences, wished, message):
    with pytest.raises(ValueError, match=message):
        seeds_needed(differences, wished)


def test_effect_sizes():
    assert effect_size([1.0, 3.0]) == pytest.approx(2 / math.sqrt(2))
    assert effect_size([2.0, 2.0]) == math.inf
    assert effect_size([0.0, 0.0]) == 0
    assert math.isnan(effect_size([1.0]))


def test_verdicts_say_no_more_than_the_pairs_do():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=12)
    rules = {
        "better": reference + rng.uniform(1, 2, 12),
        "alike": reference + rng.normal(size=12) / 10,
        "worse": reference - rng.uniform(1, 2, 12),
    }
    words = {rule: found.words for rule, found in verdicts(reference, rules, "bptt").items()}
    assert words == {"better": "above bptt", "alike": "not distinguishable from bptt", "worse": "below bptt"}
    swapped = verdicts(reference, {"better": rules["worse"], "worse": rules["better"]}, "bptt")
    assert swapped["better"].words == "below bptt"


def test_one_false_alarm_among_many_rules_is_rare():
    """Of studies in which nothing differs, at most 5 % report that any rule does; three standard errors are 3.3 %."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        found = verdicts(rng.normal(size=12), {str(i): rng.normal(size=12) for i in range(4)})
        alarms += any("not distinguishable" not in each.words for each in found.values())
    assert alarms / 400 < 0.05 + 0.033


@pytest.mark.parametrize("rules", [1, 2, 10])
def test_too_few_seeds_are_those_at_which_even_unanimous_pairs_show_nothing(rules):
    reference = [0.0] * 12
    others = {str(i): [float(i + j + 1) for j in range(12)] for i in range(rules)}
    words = [
        verdicts(reference[:n], {rule: values[:n] for rule, values in others.items()})["0"].words for n in range(3, 13)
    ]
    few = [line for line in words if line.startswith("too few")]
    assert all(line == "above the reference" for line in words[len(few) :])
    assert few[0].endswith(f"at least {3 + len(few)} are needed")


def test_profiles_fall_and_areas_are_integrals():
    shares = profile([[90.0, 95.0, 99.0], [40.0, 50.0, 60.0]], [0.0, 45.0, 92.0, 100.0])
    assert [round(share.mean, 3) for share in shares] == [1.0, 0.833, 0.333, 0.0]
    assert all(0 <= share.low <= share.mean <= share.high <= 1 for share in shares)
    x = np.linspace(0, 2, 2001)
    assert area(x, x**2) == pytest.approx(8 / 3 / 2, rel=1e-6)
    with pytest.raises(ValueError, match="with increasing x"):
        area([0.0, 0.0], [1.0, 2.0])


def test_every_pair_is_adjusted_for_all_pairs_and_reads_both_ways():
    draw = np.random.default_rng(3).normal(0, 1, (3, 12))
    rules = {"a": list(draw[0]), "b": list(draw[1] + 0.5), "c": list(draw[2] + 3)}
    found = every_pair(rules)
    once = [("a", "b"), ("a", "c"), ("b", "c")]
    assert [found[pair].adjusted for pair in once] == holm([found[pair].p for pair in once])
    for one, other in once:
        there, back = found[one, other], found[other, one]
        assert there.difference.mean == pytest.approx(-back.difference.mean)
        assert (there.p, there.adjusted) == (back.p, back.adjusted)
    assert found["c", "a"].words == "above a"
    assert found["a", "c"].words == "below c"


def test_a_missing_number_leaves_other_pairs_alone():
    sound = {"b": [1.0] * 8, "c": [2.0, 3, 4, 5, 6, 7, 8, 9]}
    found = every_pair({"a": [math.nan] * 8, **sound})
    assert found["a", "b"].words == "no verdict against b: an accuracy is not a number"
    assert found["c", "b"].words == "above b"
    assert found["c", "b"].adjusted == pytest.approx(3 * every_pair(sound)["c", "b"].p)


def _ranks(values, reference):
    """W+ - W- by comparing every pair of differences, in whole numbers: no sorting, no rounding."""
    differences = [round(10**6 * (x - y)) for x, y in zip(values, reference, strict=True)]
    sizes = [abs(d) for d in differences if d]
    return sum(
        (1 if d > 0 else -1) * (2 * sum(s < abs(d) for s in sizes) + sum(s == abs(d) for s in sizes) + 1)
        for d in differences
        if d
    )


DIVERGED = [1.0 + 0.1 * step for step in range(11)] + [-80.0]


def test_a_diverged_seed_does_not_turn_a_verdict_round():
    """The minimal case: W+ is 66 beside 12, p = 0.034, and the mean has the other sign."""
    base = [0.0] * 12
    found = verdicts(base, {"ours": DIVERGED}, "base")["ours"]
    assert (found.p, found.difference.mean < 0) == (pytest.approx(stats.wilcoxon(DIVERGED).pvalue), True)
    assert found.words == "no direction against base: the ranks say above, the mean says below: look at the runs"
    both = every_pair({"ours": DIVERGED, "base": base})
    assert both["base", "ours"].words == (
        "no direction against ours: the ranks say below, the mean says above: look at the runs"
    )


@pytest.mark.parametrize("seeds", [12, 15, 20])
def test_studies_with_one_diverged_seed_never_say_the_wrong_side(seeds):
    """400 studies: over 80 % of the seeds are above, one is far below. No verdict may say "below"."""
    rng = np.random.default_rng(seeds)
    words = []
    for _ in range(400):
        values = rng.normal(1.0, 0.5, seeds)
        values[rng.integers(seeds)] = -80.0
        found = verdicts([0.0] * seeds, {"ours": values}, "base")["ours"]
        directed = found.words.startswith(("above", "below"))
        assert not directed or found.words.startswith("above" if _ranks(values, [0.0] * seeds) > 0 else "below")
        words.append(found.words)
    assert not any(line.startswith("below") for line in words)
    assert sum(line.startswith("no direction") for line in words) > 200  # the ranks are clear and the mean contradicts


def test_an_interval_that_holds_zero_is_said_beside_the_direction():
    values = [1.0 + 0.1 * step for step in range(11)] + [-9.0]
    found = verdicts([0.0] * 12, {"ours": values}, "base")["ours"]
    assert found.difference.low < 0 < found.difference.mean
    assert found.words == "above base by ranks, but the interval of the mean holds 0: look at the runs"


def test_ranks_and_a_mean_of_zero_give_no_direction():
    values = [1.0] * 11 + [-11.0]
    assert verdicts([0.0] * 12, {"ours": values}, "base")["ours"].words == (
        "no direction against base: the ranks say above, the mean says neither: look at the runs"
    )


@pytest.mark.parametrize(("value", "words"), [(math.nan, "not a number"), (math.inf, "infinite")])
def test_a_value_that_is_not_finite_allows_no_verdict(value, words):
    found = verdicts([0.0] * 8, {"ours": [*[1.0] * 7, value], "twice": [1.0] * 8}, "base")
    assert found["ours"].words == f"no verdict against base: an accuracy is {words}"
    assert math.isnan(found["ours"].p)
    assert math.isnan(found["ours"].effect)
    assert found["twice"].words == "above base"


@pytest.mark.slow
def test_rounding_does_not_order_ties():
    """Accuracies k / 100 in percent: the differences are whole numbers of points, and the last bits are noise."""
    rng = np.random.default_rng(0)
    for _ in range(8):  # each is 4,096 orders of signs
        ours, base = rng.integers(0, 100, (2, 12))
        exact = paired([float(k) for k in ours], [float(k) for k in base], "two-sided")
        rounded = paired([100 * (k / 100) for k in ours], [100 * (k / 100) for k in base], "two-sided")
        assert rounded.p == exact.p
    assert effect_size([91.1 - 90.1, 92.2 - 91.2, 93.3 - 92.3]) == math.inf
