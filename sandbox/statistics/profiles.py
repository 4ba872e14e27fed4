"""Summaries of grids and runs: performance profiles, and the area under a learning curve."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from sandbox.statistics.blocks import block_means
from sandbox.statistics.intervals import Interval, bootstrap


def profile(
    tasks: Sequence[Sequence[float]],
    thresholds: Sequence[float],
    draws: int = 999,
    of: Sequence[Sequence[Hashable] | None] | None = None,
) -> list[Interval]:
    """Return the share of runs that score above each threshold, with pointwise stratified bootstrap intervals.

    Where all runs or none are above a threshold, the interval has no width: a bootstrap only sees values that occurred.

    Args:
        tasks: the scores of all seeds, task by task.
        thresholds: scores at which to evaluate the profile.
        draws: resamples for each interval, 999 by default.
        of: for each task, the search of each seed, or None; by default, each seed is resampled on its own.

    >>> [share.mean for share in profile([[90.0, 92.0, 94.0, 96.0]], [80.0, 93.0, 99.0])]
    [1.0, 0.5, 0.0]

    References: Agarwal et al. 2021 (arXiv 2108.13264); Dolan & More 2002 (doi 10.1007/s101070100263).
    """
    pairs = list(zip(tasks, [None] * len(tasks) if of is None else of, strict=True))
    above = [
        [block_means([float(score > threshold) for score in scores], each) for scores, each in pairs]
        for threshold in thresholds
    ]
    found = [bootstrap(*groups, draws=draws) for groups in above]
    return [Interval(mean, *np.clip([low, high], 0.0, 1.0).tolist()) for mean, low, high in found]


def area(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the mean height of a learning curve over its span, by trapezoids.

    Args:
        x: epochs, steps or a cost, strictly increasing; at least two.
        y: as many accuracies.

    Raises:
        ValueError: x does not increase, is too short, or differs in length from y.

    >>> area([0.0, 1.0, 3.0], [0.0, 80.0, 90.0])
    70.0
    """
    if len(x) != len(y) or len(x) < 2 or not np.all(np.diff(x) > 0):
        raise ValueError(f"a curve of {len(x)} x and {len(y)} y: give as many of both, at least two, with increasing x")
    heights = np.asarray(y, dtype=np.float64)
    return float(np.sum(np.diff(x) * (heights[1:] + heights[:-1]) / 2.0) / (x[-1] - x[0]))
