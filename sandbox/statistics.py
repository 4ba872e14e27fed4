"""How sure one may be of a mean over a few seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and its 95 % interval; the bounds are NaN for a single value."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.2f} (one seed)"
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Paired(NamedTuple):
    """The mean of paired differences with its 95 % interval, and how likely chance alone makes it as large."""

    difference: Interval
    p: float

    def __str__(self) -> str:
        return f"{self.difference} (p = {self.p:.3g})"


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Is a larger than b, seed by seed? The mean of `a - b`, and the exact one-sided p of Wilcoxon's signed ranks.

    Five pairs that all agree have p = 1/32. Raises ValueError for sequences of different length.

    >>> print(paired([2.0, 3.0, 5.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0]))
    3.00 [1.80, 4.20] (p = 0.0312)

    Reference: Wilcoxon 1945 (doi 10.2307/3001968), as implemented by SciPy.
    """
    from scipy import stats

    differences = [x - y for x, y in zip(a, b, strict=True)]
    p = 1.0 if not any(differences) else float(stats.wilcoxon(differences, alternative="greater").pvalue)
    return Paired(bootstrap(differences), p)


def bootstrap(values: Sequence[float], draws: int = 9999, confidence: float = 0.95) -> Interval:
    """Mean with a bootstrap interval (bias-corrected and accelerated), from a fixed seed.

    Raises ValueError for no values. For a paired comparison hand over the differences.

    >>> bootstrap([1.0, 2.0, 3.0, 4.0, 5.0]).mean
    3.0

    Reference: Efron 1987 (doi 10.1080/01621459.1987.10478410), as implemented by SciPy.
    """
    from scipy import stats

    if len(values) == 0:
        raise ValueError("no values: an interval needs at least one")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, math.nan, math.nan)
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    found = stats.bootstrap((np.asarray(values),), np.mean, n_resamples=draws, confidence_level=confidence,
                            method="BCa", rng=np.random.default_rng(0)).confidence_interval  # fmt: skip
    return Interval(mean, float(found.low), float(found.high))
