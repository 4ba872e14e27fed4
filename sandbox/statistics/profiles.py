"""Whole runs and whole grids in one curve or number: performance profiles, and the area under a learning curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sandbox.statistics.intervals import Interval, bootstrap


def profile(tasks: Sequence[Sequence[float]], thresholds: Sequence[float], draws: int = 999) -> list[Interval]:
    """The share of runs that score above each threshold, with pointwise stratified bootstrap intervals.

    Arguments: the scores of all seeds of each task, the thresholds. Where every run or none is above, the interval has
    no width, as the bootstrap cannot know of what it has not seen.

    >>> [share.mean for share in profile([[90.0, 92.0, 94.0, 96.0]], [80.0, 93.0, 99.0])]
    [1.0, 0.5, 0.0]

    References: Agarwal et al. 2021 (arXiv 2108.13264); Dolan & More 2002 (doi 10.1007/s101070100263).
    """
    above = [[[float(score > threshold) for score in scores] for scores in tasks] for threshold in thresholds]
    found = [bootstrap(*groups, draws=draws) for groups in above]
    return [Interval(mean, *np.clip([low, high], 0.0, 1.0).tolist()) for mean, low, high in found]


def area(x: Sequence[float], y: Sequence[float]) -> float:
    """The mean height of a learning curve over its span, by trapezoids.

    Arguments: epochs, steps or a cost, rising; accuracies. Raises ValueError where x does not rise or lengths differ.

    >>> area([0.0, 1.0, 3.0], [0.0, 80.0, 90.0])
    70.0
    """
    from scipy import integrate

    if len(x) != len(y) or len(x) < 2 or not np.all(np.diff(x) > 0):
        raise ValueError(f"a curve of {len(x)} places and {len(y)} heights; wanted two or more, at places that rise")
    return float(integrate.trapezoid(y, x) / (x[-1] - x[0]))
