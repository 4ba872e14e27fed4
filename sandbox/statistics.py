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
