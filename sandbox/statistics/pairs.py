"""Paired tests of two rules over the same seeds, effect sizes, and the number of seeds needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from sandbox.statistics.intervals import FEWEST, Interval, interval

LEVEL = 0.05
MOST = 1000  # seeds that may be asked for
DIGITS = 12  # of the largest value; differences that agree in so many are equal, as float64 has 15 to 17


class Paired(NamedTuple):
    """The mean of paired differences with its 95 % interval, and the p of chance alone making it as large."""

    difference: Interval
    p: float

    def __str__(self) -> str:
        return f"{self.difference} (p = {self.p:.3g})"


def paired(a: Sequence[float], b: Sequence[float], alternative: str = "greater") -> Paired:
    """Test whether `a` is larger than `b`, seed by seed, by Wilcoxon's signed ranks.

    The p is exact up to 13 pairs with ties or zeros, and up to 50 pairs without; beyond that it is SciPy's normal
    approximation. Five pairs that all agree have p = 1/32, or 1/16 two-sided.

    Args:
        a: one number for each seed.
        b: as many numbers for the same seeds, in the same order.
        alternative: "greater" (the default), "less" or "two-sided", as in `scipy.stats.wilcoxon`.

    Returns:
        The mean of `a - b` with its interval, and p; p is 1 where all differences are 0.

    Differences that agree in 12 digits of the largest value are ties, so that rounding does not order them.

    Raises:
        ValueError: the sequences differ in length.

    >>> print(paired([2.0, 3.0, 5.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0]))
    3.00 [1.04, 4.96] (p = 0.0312)

    Reference: Wilcoxon 1945 (doi 10.2307/3001968), as implemented by SciPy.
    """
    from scipy import stats

    differences = [x - y for x, y in zip(a, b, strict=True)]
    if not np.isfinite(differences).all():
        return Paired(Interval(math.nan, math.nan, math.nan), math.nan)
    ordered = _level(a, b)
    p = 1.0 if not any(ordered) else float(stats.wilcoxon(ordered, alternative=alternative).pvalue)
    return Paired(interval(differences), p)


def _level(a: Sequence[float], b: Sequence[float]) -> Any:
    """Return the differences in units of the largest value, equal where only rounding distinguishes them."""
    found = np.asarray([a, b], dtype=np.float64)
    largest = float(np.abs(found).max())
    found = found / largest if largest else found
    return np.round(found[0] - found[1], DIGITS)


def _ranked(a: Sequence[float], b: Sequence[float]) -> float:
    """Return W+ - W-, the sum of signed ranks of which the p of `paired` is; zeros are left out."""
    from scipy import stats

    differences = _level(a, b)
    differences = differences[differences != 0]
    return float((np.sign(differences) * stats.rankdata(np.abs(differences))).sum())


def effect_size(differences: Sequence[float]) -> float:
    """Return the mean of paired differences over their standard deviation (Cohen's d_z).

    It is NaN for fewer than two differences, and infinite where all of them are equal, up to rounding, and not 0.

    >>> round(effect_size([1.0, 2.0, 3.0]), 2)
    2.0

    Reference: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 2.3.5 (recalled).
    """
    if len(differences) < 2 or not np.isfinite(differences).all():
        return math.nan
    mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if spread <= abs(mean) * 10.0**-DIGITS:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / spread


def holm(p: Sequence[float]) -> list[float]:
    """Adjust the p values of several tests so that each bounds the chance of any false alarm among them.

        adjusted(k) = max over j <= k of min(1, (m - j + 1) p(j)),    p(1) <= ... <= p(m)

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    Reference: Holm 1979, Scandinavian Journal of Statistics 6, 65-70.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def seeds_needed(differences: Sequence[float], wished: float, power: float = 0.8, comparisons: int = 1) -> int:
    """Estimate how many pairs would show a mean difference of `wished`, if they spread as `differences` do.

    Based on the noncentral t of a two-sided paired test at 5 %, divided by the number of comparisons.

    Args:
        differences: paired differences of a pilot, at least three.
        wished: the mean difference to detect, in the same unit; not 0.
        power: chance of detecting it, 0.8 by default.
        comparisons: number of tests that share the 5 %, 1 by default.

    Returns:
        The number of pairs.

    Raises:
        ValueError: too few differences, a `wished` of 0, or one so small that a thousand pairs are not enough.

    >>> seeds_needed([1.0, 2.0, 3.0, 2.0, 1.0], wished=1.0)
    8

    Reference: Cohen 1988 (recalled); the noncentral t is SciPy's.
    """
    from scipy import stats

    if len(differences) < FEWEST or not wished:
        raise ValueError(
            f"{len(differences)} differences, wished={wished}: give at least {FEWEST}, and a wished that is not 0"
        )
    spread = float(np.std(differences, ddof=1))
    if spread == 0:
        return FEWEST
    for n in range(2, MOST + 1):
        shift, beyond = abs(wished) / spread * math.sqrt(n), stats.t.ppf(1 - LEVEL / comparisons / 2, n - 1)
        if stats.nct.sf(beyond, n - 1, shift) + stats.nct.cdf(-beyond, n - 1, shift) >= power:
            return n
    raise ValueError(f"a difference of {wished} beside a spread of {spread:.3g} needs more than {MOST} seeds")


class Verdict(NamedTuple):
    """The verdict on one rule against a reference, among all rules that were compared with it."""

    difference: Interval
    effect: float  # d_z
    p: float  # two-sided
    adjusted: float  # p adjusted by Holm for the number of comparisons
    words: str


def verdicts(
    reference: Sequence[float], others: Mapping[str, Sequence[float]], than: str = "the reference"
) -> dict[str, Verdict]:
    """Compare each rule with a reference, pair by pair: it is "above", "below" or "not distinguishable from" it.

    A rule is above or below where the two-sided p of Wilcoxon's signed ranks, adjusted by Holm for all rules, is under
    5 %. The direction is that of the same ranks. One diverged seed moves a mean far and a rank little: where the mean
    has the other sign, there is no direction but a warning, and where its interval holds 0, the verdict says so. With
    so few pairs that even unanimous ones could not get there, the verdict is "too few seeds", with the number needed;
    a value that is not finite allows no verdict.

    Args:
        reference: one number for each seed.
        others: as many numbers for each rule, for the same seeds in the same order.
        than: name of the reference in the verdicts.

    Raises:
        ValueError: the sequences differ in length.

    >>> found = verdicts([1.0] * 8, {"ours": [2.0, 3.0, 2.5, 2.6, 2.1, 2.2, 2.3, 2.4]}, than="theirs")
    >>> found["ours"].words
    'above theirs'
    >>> verdicts([1.0] * 3, {"ours": [2.0, 3.0, 2.5]}, than="theirs")["ours"].words
    'too few seeds: with 3 no difference can reach p < 0.05; at least 6 are needed'
    >>> diverged = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, -80.0]
    >>> verdicts([0.0] * 12, {"ours": diverged}, than="theirs")["ours"].words
    'no direction against theirs: the ranks say above, the mean says below: look at the runs'
    """
    judged = _judged([(values, reference, than) for values in others.values()])
    return dict(zip(others, judged, strict=True))


def every_pair(values: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], Verdict]:
    """Compare every rule with every other, in both orders: the verdict at `(a, b)` is that of a against b.

    p is adjusted by Holm for all pairs, which makes these verdicts more cautious than those of `verdicts`.

    >>> rules = {"a": [2.0, 3.0, 2.5, 2.6, 2.1, 2.2], "b": [1.0] * 6}
    >>> [(one, verdict.words) for (one, _), verdict in every_pair(rules).items()]
    [('a', 'above b'), ('b', 'below a')]
    """
    pairs = list(combinations(values, 2))
    there = _judged([(values[a], values[b], b) for a, b in pairs])
    back = _judged([(values[b], values[a], a) for a, b in pairs])
    found = {
        pair: verdict
        for a_b, *both in zip(pairs, there, back, strict=True)
        for pair, verdict in zip((a_b, a_b[::-1]), both, strict=True)
    }
    return {(a, b): found[a, b] for a in values for b in values if a != b}


def _judged(pairs: Sequence[tuple[Sequence[float], Sequence[float], str]]) -> list[Verdict]:
    """Judge values against a reference and its name, with p adjusted for all of these comparisons."""
    found = [paired(values, reference, "two-sided") for values, reference, _ in pairs]
    # p is NaN where an accuracy is not finite: the comparison still counts, as one that shows nothing.
    adjusted = holm([1.0 if math.isnan(each.p) else each.p for each in found])
    answers = []
    for (values, reference, than), (difference, p), p_adjusted in zip(pairs, found, adjusted, strict=True):
        differences = [x - y for x, y in zip(values, reference, strict=True)]
        words = _no_verdict([*values, *reference], p_adjusted, len(differences), len(found), than)
        words = words or _direction(_ranked(values, reference), difference, than)
        answers.append(Verdict(difference, effect_size(differences), p, p_adjusted, words))
    return answers


def _no_verdict(values: Sequence[float], p: float, pairs: int, comparisons: int, than: str) -> str | None:
    """Say why there is no direction; None where there is one."""
    if not np.isfinite(values).all():
        return f"no verdict against {than}: an accuracy is {'not a number' if np.isnan(values).any() else 'infinite'}"
    enough = 1 + math.floor(1 - math.log2(LEVEL / comparisons))  # smallest n with comparisons x 2^(1 - n) < LEVEL
    if pairs < enough:
        return f"too few seeds: with {pairs} no difference can reach p < {LEVEL}; at least {enough} are needed"
    return None if p < LEVEL else f"not distinguishable from {than}"


def _direction(ranks: float, difference: Interval, than: str) -> str:
    """Say on which side a rule is: that of the ranks, which gave the p, unless the mean is not on it."""
    side = "above" if ranks > 0 else "below"
    if ranks * difference.mean <= 0:
        mean = "neither" if difference.mean == 0 else "below" if ranks > 0 else "above"
        return f"no direction against {than}: the ranks say {side}, the mean says {mean}: look at the runs"
    if difference.low <= 0 <= difference.high:
        return f"{side} {than} by ranks, but the interval of the mean holds 0: look at the runs"
    return f"{side} {than}"
