"""Verdicts: on which side of a reference a rule is, as far as paired seeds or searches can tell."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from sandbox.statistics.blocks import block_means
from sandbox.statistics.intervals import Interval, interval
from sandbox.statistics.pairs import LEVEL, effect_size, holm, level_differences
from sandbox.statistics.ranks import SignedRanks, signed_ranks

Blocks = Sequence[Hashable] | None
ROUNDING = 1e-6  # of a count that was kept as a percentage in float64, for up to 10^9 answers
FEW = "too few"  # how a verdict begins where pairs are too few for one
BY_RANKS = "by ranks, but the interval of the mean holds 0"  # in a verdict that is none


class Verdict(NamedTuple):
    """The verdict on one rule against a reference, among all rules that were compared with it."""

    difference: Interval
    effect: float  # d_z
    p: float  # two-sided
    adjusted: float  # p adjusted by Holm for the number of comparisons
    words: str


def verdicts(
    reference: Sequence[float],
    others: Mapping[str, Sequence[float]],
    than: str = "the reference",
    of: Blocks = None,
    answers: int | None = None,
) -> dict[str, Verdict]:
    """Compare each rule with a reference, pair by pair: it is "above", "below" or "not distinguishable from" it.

    A rule is above or below where the two-sided p of Wilcoxon's signed ranks, adjusted by Holm for all rules, is under
    5 %. The direction is that of the same ranks. One diverged seed moves a mean far and a rank little: where the mean
    has the other sign, a warning stands in place of a direction, and where its interval holds 0, the verdict says so.
    With so few pairs that even unanimous ones could not get there, the verdict is "too few seeds", with the number
    needed; a value that is not finite allows no verdict. With `of`, pairs are means over blocks of seeds, one block for
    each search of tuning: these are independent.

    Args:
        reference: one number for each seed.
        others: as many numbers for each rule, for the same seeds in the same order.
        than: name of the reference in the verdicts.
        of: the search of each seed; by default each seed is a pair of its own.
        answers: number of answers of which the values are the percentage that is right; then differences are ranked as
            whole numbers of answers, where ties are ties. By default, equal in 12 digits is equal.

    Raises:
        ValueError: the sequences differ in length, or values are not percentages of so many answers.

    >>> found = verdicts([1.0] * 8, {"ours": [2.0, 3.0, 2.5, 2.6, 2.1, 2.2, 2.3, 2.4]}, than="theirs")
    >>> found["ours"].words
    'above theirs'
    >>> verdicts([1.0] * 3, {"ours": [2.0, 3.0, 2.5]}, than="theirs")["ours"].words
    'too few seeds: with 3 no difference can reach p < 0.05; at least 6 are needed'
    >>> diverged = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, -80.0]
    >>> verdicts([0.0] * 12, {"ours": diverged}, than="theirs")["ours"].words
    'no direction against theirs: the ranks say above, the mean says below: look at the runs'
    """
    judged = _judged([(values, reference, than) for values in others.values()], of, answers)
    return dict(zip(others, judged, strict=True))


def every_pair(
    values: Mapping[str, Sequence[float]], of: Blocks = None, answers: int | None = None
) -> dict[tuple[str, str], Verdict]:
    """Compare every rule with every other, in both orders: the verdict at `(a, b)` is that of a against b.

    p is adjusted by Holm for all pairs, which makes these verdicts more cautious than those of `verdicts`, whose `of`
    and `answers` these are.

    >>> rules = {"a": [2.0, 3.0, 2.5, 2.6, 2.1, 2.2], "b": [1.0] * 6}
    >>> [(one, verdict.words) for (one, _), verdict in every_pair(rules).items()]
    [('a', 'above b'), ('b', 'below a')]
    """
    pairs = list(combinations(values, 2))
    there = _judged([(values[a], values[b], b) for a, b in pairs], of, answers)
    back = _judged([(values[b], values[a], a) for a, b in pairs], of, answers)
    found = {
        pair: verdict
        for a_b, *both in zip(pairs, there, back, strict=True)
        for pair, verdict in zip((a_b, a_b[::-1]), both, strict=True)
    }
    return {(a, b): found[a, b] for a in values for b in values if a != b}


def enough(comparisons: int) -> int:
    """Return the fewest pairs that can show a difference in one of several comparisons: if all of them agree.

    That is the smallest n with comparisons x 2^(1 - n) < 0.05.

    >>> enough(1), enough(16)
    (6, 10)
    """
    return 1 + math.floor(1 - math.log2(LEVEL / comparisons))


def _judged(
    pairs: Sequence[tuple[Sequence[float], Sequence[float], str]], of: Blocks, answers: int | None
) -> list[Verdict]:
    """Judge values against a reference and its name, with p adjusted for all of these comparisons."""
    found = [_ranks(values, reference, of, answers) for values, reference, _ in pairs]
    # p is NaN where an accuracy is not finite: the comparison still counts, as one that shows nothing.
    adjusted = holm([1.0 if math.isnan(each.p) else each.p for each in found])
    judged = []
    for (values, reference, than), ranks, p_adjusted in zip(pairs, found, adjusted, strict=True):
        differences = block_means([x - y for x, y in zip(values, reference, strict=True)], of)
        difference = interval(differences) if np.isfinite(differences).all() else Interval(*[math.nan] * 3)
        why = _not_finite([*values, *reference], than)
        why = why or _no_verdict(p_adjusted, len(differences), len(found), than, "seeds" if of is None else "searches")
        words = why or _direction(ranks.plus - ranks.minus, difference, than)
        judged.append(Verdict(difference, effect_size(differences), ranks.p, p_adjusted, words))
    return judged


def _ranks(values: Sequence[float], reference: Sequence[float], of: Blocks, answers: int | None) -> SignedRanks:
    """Return the signed ranks of the differences of blocks, two-sided; NaN where a value is not finite."""
    if _not_finite([*values, *reference], "") is not None:
        return SignedRanks(math.nan, math.nan, math.nan)
    if answers is None:
        ordered = level_differences(block_means(values, of), block_means(reference, of))
    else:  # quotients of whole numbers are equal where they are ties
        ordered = block_means(_right(values, answers) - _right(reference, answers), of)
    return signed_ranks(ordered, "two-sided")


def _right(values: Sequence[float], answers: int) -> Any:
    """Return of how many answers the values are percentages."""
    counts = np.asarray(values, dtype=np.float64) * answers / 100
    if np.abs(counts - np.rint(counts)).max(initial=0.0) > ROUNDING:
        raise ValueError(f"answers={answers}: the values are percentages of so many answers, unlike {values}")
    return np.rint(counts)


def _not_finite(values: Sequence[float], than: str) -> str | None:
    """Say that a value is not finite; None where all are."""
    found = np.asarray(values, dtype=np.float64)
    if np.isfinite(found).all():
        return None
    return f"no verdict against {than}: an accuracy is {'not a number' if np.isnan(found).any() else 'infinite'}"


def _no_verdict(p: float, pairs: int, comparisons: int, than: str, what: str) -> str | None:
    """Say why a verdict has no direction; None where it has one."""
    if pairs < enough(comparisons):
        needed = f"at least {enough(comparisons)} are needed"
        return f"{FEW} {what}: with {pairs} no difference can reach p < {LEVEL}; {needed}"
    return None if p < LEVEL else f"not distinguishable from {than}"


def _direction(ranks: float, difference: Interval, than: str) -> str:
    """Say on which side a rule is: that of the ranks, which gave the p, unless the mean is not on it."""
    side = "above" if ranks > 0 else "below"
    if ranks * difference.mean <= 0:
        mean = "neither" if difference.mean == 0 else "below" if ranks > 0 else "above"
        return f"no direction against {than}: the ranks say {side}, the mean says {mean}: look at the runs"
    if difference.low <= 0 <= difference.high:
        return f"{side} {than} {BY_RANKS}: look at the runs"
    return f"{side} {than}"
