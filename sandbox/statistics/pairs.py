"""Paired tests of two rules over the same seeds, Holm's correction, effect sizes, and the number of seeds needed."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sandbox.statistics.intervals import FEWEST, Interval, interval
from sandbox.statistics.ranks import Side, signed_ranks

LEVEL = 0.05
MOST = 1000  # seeds that may be asked for
DIGITS = 12  # of the largest value; differences that agree in so many are equal, as float64 has 15 to 17


class Paired(NamedTuple):
    """The mean of paired differences with its 95 % interval, and the p of chance alone making it as large."""

    difference: Interval
    p: float
    alternative: Side = "greater"

    def __str__(self) -> str:
        return f"{self.difference} (p = {self.p:.3g}, {'two' if self.alternative == 'two-sided' else 'one'}-sided)"


def paired(a: Sequence[float], b: Sequence[float], alternative: Side = "greater") -> Paired:
    """Test whether `a` is larger than `b`, seed by seed, by the exact p of Wilcoxon's signed ranks (`signed_ranks`).

    Five pairs that all agree have p = 1/32, or 1/16 two-sided. Differences that agree in 12 digits of the largest value
    are ties, so that rounding does not order them.

    Args:
        a: one number for each seed.
        b: as many numbers for the same seeds, in the same order.
        alternative: "greater" (the default), "less" or "two-sided", as in `scipy.stats.wilcoxon`.

    Returns:
        The mean of `a - b` with its interval, and p; p is 1 where all differences are 0, and NaN where a number is not
        finite.

    Raises:
        ValueError: the sequences differ in length, or for another alternative.

    >>> print(paired([2.0, 3.0, 5.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0]))
    3.00 [1.04, 4.96] (p = 0.0312, one-sided)

    Reference: Wilcoxon 1945 (doi 10.2307/3001968; recalled).
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    if not np.isfinite(differences).all():
        return Paired(Interval(math.nan, math.nan, math.nan), math.nan, alternative)
    return Paired(interval(differences), signed_ranks(level_differences(a, b), alternative).p, alternative)


def level_differences(a: Sequence[float], b: Sequence[float]) -> Any:
    """Return `a - b` in units of the largest value, equal where only rounding distinguishes them, as ranks need it."""
    found = np.asarray([a, b], dtype=np.float64)
    largest = float(np.abs(found).max())
    found = found / largest if largest else found
    return np.round(found[0] - found[1], DIGITS)


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
    if spread <= 10.0**-DIGITS * 100:  # percentages that are equal but for their last digits
        return FEWEST

    def shown(n: int) -> bool:
        shift, beyond = abs(wished) / spread * math.sqrt(n), stats.t.ppf(1 - LEVEL / comparisons / 2, n - 1)
        return bool(stats.nct.sf(beyond, n - 1, shift) + stats.nct.cdf(-beyond, n - 1, shift) >= power)

    most = 2  # more pairs show more, so the fewest are found by doubling and halving
    while most < MOST and not shown(most):
        most = min(2 * most, MOST)
    if shown(most):
        return bisect_left(range(most), True, lo=2, key=shown)
    raise ValueError(f"a difference of {wished} beside a spread of {spread:.3g} needs more than {MOST} seeds")
