"""Confidence intervals of a mean over a few seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

FEWEST = 3  # values needed for an interval: two are too few to estimate their spread


class Interval(NamedTuple):
    """A mean, or another statistic, with its 95 % interval; the bounds are NaN where there are too few values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "not a number"
        if math.isnan(self.low):
            return f"{self.mean:.2f} (no interval: fewer than {FEWEST} seeds)"
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent values with Student's interval.

        mean +- t(n - 1) s / sqrt(n)

    For values that are about normal, the interval covers the true mean as often as `confidence` says, for any number of
    values. A bootstrap of five values covers it only 84 times in a hundred. Both are measured in
    `tests/sandbox/statistics/test_statistics.py`. For a paired comparison, pass the differences.

    Args:
        values: independent values, such as one accuracy for each seed.
        confidence: share of intervals that cover the mean, 0.95 by default.

    Returns:
        The mean and its bounds, which are NaN for fewer than three values.

    Raises:
        ValueError: there are no values.

    >>> print(interval([1.0, 2.0, 3.0, 4.0, 5.0]))
    3.00 [1.04, 4.96]

    Reference: Student 1908 (doi 10.1093/biomet/6.1.1), as implemented by SciPy.
    """
    from scipy import stats

    found = _checked(values)
    mean = float(found.mean())
    if len(found) < FEWEST:
        return Interval(mean, math.nan, math.nan)
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(found) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def interquartile_mean(values: Any, axis: int | None = None) -> Any:
    """Return the mean of the middle half: of n values, floor(n / 4) are left out at either end.

    Args:
        values: an array, or what numpy makes one of.
        axis: the axis to average over; None, the default, for all values.

    >>> float(interquartile_mean([0.0, 1.0, 2.0, 90.0]))
    1.5

    Reference: Agarwal et al. 2021 (arXiv 2108.13264); the trimming is SciPy's.
    """
    from scipy import stats

    return stats.trim_mean(values, 0.25, axis=axis)


def bootstrap(
    *strata: Sequence[float],
    statistic: Callable[..., Any] = np.mean,
    draws: int = 9999,
    confidence: float = 0.95,
) -> Interval:
    """Return a statistic of all values with a stratified bootstrap interval, from a fixed seed.

    Each stratum, for example the seeds of one task, is resampled on its own. The bounds are bias-corrected and
    accelerated. A resample of n values spreads less than the values do, by a factor of `sqrt((n - 1) / n)`, and ignores
    that their spread is itself uncertain. The level is therefore widened to match Student's interval:

        alpha' = 2 Phi(-sqrt(N / d) t(d)),    N values in all, d = N - number of strata.

    Args:
        *strata: the values of each stratum.
        statistic: `f(values, axis=)`, such as `numpy.mean`, the default, or `interquartile_mean`.
        draws: number of resamples, 9999 by default.
        confidence: nominal level before widening, 0.95 by default.

    Returns:
        The statistic and its bounds, which are NaN where a stratum has fewer than three values.

    Raises:
        ValueError: a stratum has no values.

    >>> print(bootstrap([90.0, 91.0, 95.0, 92.0], [50.0, 52.0, 49.0, 51.0], statistic=interquartile_mean))
    71.00 [69.75, 73.25]

    References: Efron 1987 (doi 10.1080/01621459.1987.10478410), as implemented by SciPy; the widening is Hesterberg's
    for a mean (2015, doi 10.1080/00031305.2015.1089789; recalled); using it for strata and other statistics is ours.
    """
    from scipy import stats

    groups = [_checked(values) for values in strata]
    whole = np.concatenate(groups)
    value = float(statistic(whole, axis=None))
    if min(map(len, groups)) < FEWEST:
        return Interval(value, math.nan, math.nan)
    if all(np.ptp(group) == 0 for group in groups):
        return Interval(value, value, value)
    freedom = len(whole) - len(groups)
    reach = math.sqrt(len(whole) / freedom) * stats.t.ppf((1 + confidence) / 2, freedom)

    def of_all(*resampled: Any, axis: int = -1) -> Any:
        return statistic(np.concatenate(resampled, axis=axis), axis=axis)

    found = stats.bootstrap(
        groups,
        of_all,
        n_resamples=draws,
        vectorized=True,
        method="BCa",
        confidence_level=1 - 2 * stats.norm.cdf(-reach),
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(value, float(found.low), float(found.high))


def _checked(values: Sequence[float]) -> Any:
    """Return the values as a float64 array; refuse an empty one."""
    if len(values) == 0:
        raise ValueError("no values: an interval needs at least one")
    return np.asarray(values, dtype=np.float64)
