"""Wilcoxon's signed ranks: the sum of ranks and its exact p, with ties and zeros."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

MOST = 1000  # pairs of which p is exact
Side = Literal["greater", "less", "two-sided"]


class SignedRanks(NamedTuple):
    """The sums of the ranks of positive and of negative differences, and the p of these sums."""

    plus: float
    minus: float
    p: float


def signed_ranks(differences: Sequence[float], alternative: Side = "greater") -> SignedRanks:
    """Test whether differences lie symmetrically about 0, by the ranks of their magnitudes.

        W+ = sum of the ranks of |d| over d > 0,    p = share of all 2^n patterns of signs with a W+ at least as large

    Zeros are left out, and ties have the mean of their ranks. The patterns are counted by dynamic programming over
    twice the ranks, which are whole numbers. Sums are of positive numbers in float64, so p is right to some 13 digits.
    The two-sided p is twice the smaller one-sided p, at most 1.

    Args:
        differences: one for each pair, equal where they are ties.
        alternative: "greater" (the default), "less" or "two-sided".

    Returns:
        The two sums of ranks, and p; p is 1 where all differences are 0. Beyond 1000 differences that are not 0, p is
        that of the normal distribution of the same variance, ties included.

    Raises:
        ValueError: for another alternative, and for differences that are not finite.

    >>> signed_ranks([0.3, -0.1, 0.8, 0.5, 0.2])
    SignedRanks(plus=14.0, minus=1.0, p=0.0625)

    Reference: Wilcoxon 1945 (doi 10.2307/3001968; recalled); the counting is the usual one.
    """
    if alternative not in get_args(Side):
        raise ValueError(f"alternative={alternative!r}: give one of {', '.join(get_args(Side))}")
    found = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("differences: all have to be finite, so that they have ranks")
    found = found[found != 0]
    doubled = _doubled(np.abs(found))
    plus, minus = int(doubled[found > 0].sum()), int(doubled[found < 0].sum())
    if not len(found):
        return SignedRanks(0.0, 0.0, 1.0)
    tail = _tail if len(found) <= MOST else _normal_tail
    if alternative == "two-sided":
        p = min(1.0, 2 * tail(doubled, min(plus, minus)))
    else:
        p = tail(doubled, minus if alternative == "greater" else plus)
    return SignedRanks(plus / 2, minus / 2, p)


def _doubled(sizes: Any) -> Any:
    """Return twice the rank of each size: ties share the mean of their ranks, so that twice a rank is whole."""
    _, place, count = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (2 * last - count + 1)[place]


def _tail(doubled: Any, least: int) -> float:
    """Return the share of patterns of signs in which the ranks of one sign sum to at most `least`."""
    if 2 * least >= doubled.sum():  # the longer tail: all patterns but those of the other end, by symmetry
        beyond = int(doubled.sum()) - least - 1
        return 1.0 if beyond < 0 else 1.0 - _tail(doubled, beyond)
    share = np.zeros(least + 1)
    share[0] = 1.0
    for rank in np.sort(doubled):  # a sum grows by this rank in half of the patterns
        moved = share[: max(0, least + 1 - rank)].copy()
        share *= 0.5
        share[rank:] += 0.5 * moved
    return float(share.sum())


def _normal_tail(doubled: Any, least: int) -> float:
    """Return the share of `_tail` for many ranks, by the normal distribution with half a step of continuity."""
    middle, spread = doubled.sum() / 2, math.sqrt(float(np.square(doubled, dtype=np.float64).sum())) / 2
    # Sums of whole ranks move in steps of 2 when doubled; ties only make the steps finer.
    return 0.5 * math.erfc((middle - least - 1) / spread / math.sqrt(2))
