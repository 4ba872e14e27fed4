"""The resolution of a table: how far a rule lies from itself when it is tuned twice."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from sandbox.statistics import Interval, block_means, interval

SMALL = ", by less than the table's resolution"


class Resolution(NamedTuple):
    """How far two rows of one rule lie apart on average, and which two they are."""

    apart: Interval
    rule: str
    again: str

    @property
    def points(self) -> float:
        """The difference below which no verdict is to be relied upon."""
        return self.apart.mean if math.isnan(self.apart.high) else self.apart.high


def resolution(
    values: Mapping[str, Sequence[float]], again: Mapping[str, str], of: Sequence[Hashable] | None = None
) -> Resolution | None:
    """Return the resolution by all pairs of rows that are the same rule, tuned twice; None without such a pair.

        resolution = upper end of the 95 % interval of the mean over replicates of |a - b|

    and the largest of these where there are several pairs. The two rows differ by the error of tuning and the chance
    of learning alone, so a mean difference between two rules that is not larger may be of the same kind. The magnitude
    is taken before the mean, because a single search of each makes an error that all seeds share, and its sign is
    chance. The upper end is taken because a few replicates measure the mean poorly. It is more cautious than the
    interval of a difference, and is not a test: it says how large a difference has to be to matter.

    Args:
        values: accuracies of every row, seed by seed.
        again: the row whose rule it is, by the row that has it again.
        of: the search of each seed; by default each seed is a replicate.

    >>> found = resolution({"bptt": [90.0, 91.0, 92.0], "bptt again": [91.0, 90.0, 93.0]}, {"bptt again": "bptt"})
    >>> found.points
    1.0
    """
    found = [Resolution(_apart(values[rule], values[other], of), rule, other) for other, rule in again.items()]
    return max(found, key=lambda each: each.points, default=None)


def _apart(a: Sequence[float], b: Sequence[float], of: Sequence[Hashable] | None) -> Interval:
    mean, low, high = interval(block_means([abs(x - y) for x, y in zip(a, b, strict=True)], of))
    return Interval(mean, low if math.isnan(low) else max(0.0, low), high)  # a magnitude is not below 0


def within(words: str, difference: Interval, found: Resolution | None) -> str:
    """Return a verdict, which says so if the difference is smaller than the resolution.

    >>> within("above b", Interval(1.0, 0.5, 1.5), Resolution(Interval(2.0, 1.0, 3.0), "a", "a again"))
    "above b, by less than the table's resolution"
    """
    if found is None or not words.startswith(("above", "below")) or abs(difference.mean) >= found.points:
        return words
    return f"{words}{SMALL}"
