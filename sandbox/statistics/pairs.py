"""Whether paired seeds tell two rules apart, by how much, and how many seeds it would take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from sandbox.statistics.intervals import FEWEST, Interval, interval

LEVEL = 0.05
MOST = 1000  # seeds that anyone is asked for


class Paired(NamedTuple):
    """The mean of paired differences with its 95 % interval, and how likely chance alone makes it as large."""

    difference: Interval
    p: float

    def __str__(self) -> str:
        return f"{self.difference} (p = {self.p:.3g})"


def paired(a: Sequence[float], b: Sequence[float], alternative: str = "greater") -> Paired:
    """Is a larger than b, seed by seed? The mean of `a - b`, and the exact p of Wilcoxon's signed ranks.

    Five pairs that all agree have p = 1/32; with the alternative "two-sided", whether they differ, 1/16. Raises
    ValueError for sequences of different length.

    >>> print(paired([2.0, 3.0, 5.0, 4.0, 6.0], [1.0, 1.0, 1.0, 1.0, 1.0]))
    3.00 [1.04, 4.96] (p = 0.0312)

    Reference: Wilcoxon 1945 (doi 10.2307/3001968), as implemented by SciPy.
    """
    from scipy import stats

    differences = [x - y for x, y in zip(a, b, strict=True)]
    p = 1.0 if not any(differences) else float(stats.wilcoxon(differences, alternative=alternative).pvalue)
    return Paired(interval(differences), p)


def effect_size(differences: Sequence[float]) -> float:
    """The mean of paired differences over their standard deviation (Cohen's d_z); NaN for fewer than two.

    >>> round(effect_size([1.0, 2.0, 3.0]), 2)
    2.0

    Reference: Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 2.3.5 (recalled).
    """
    if len(differences) < 2:
        return math.nan
    mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
    if spread == 0:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / spread


def holm(p: Sequence[float]) -> list[float]:
    """P values of several tests, adjusted so that one false alarm among them is as rare as each says.

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
    """Pairs at which a mean difference of `wished` would be found with this power, if they spread as these do.

    By the noncentral t of a two-sided paired test at 5 % over the number of comparisons. Raises ValueError for fewer
    than three differences, no wish, or a wish of so little that a thousand pairs are not enough.

    >>> seeds_needed([1.0, 2.0, 3.0, 2.0, 1.0], wished=1.0)
    8

    Reference: Cohen 1988 (recalled); the noncentral t is SciPy's.
    """
    from scipy import stats

    if len(differences) < FEWEST or not wished:
        raise ValueError(
            f"{len(differences)} differences and a wish of {wished}: give at least {FEWEST}, and a difference"
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
    """What one rule's pairs allow to say against a reference, among all that were compared with it."""

    difference: Interval
    effect: float  # d_z
    p: float  # two-sided
    adjusted: float  # for the number of comparisons, by Holm
    words: str


def verdicts(
    reference: Sequence[float], others: Mapping[str, Sequence[float]], than: str = "the reference"
) -> dict[str, Verdict]:
    """Each rule against a reference, pair by pair: "above", "below" or "not distinguishable from" it.

    Rules are told apart where the two-sided p of Wilcoxon's signed ranks, adjusted by Holm for all rules, is below 5 %.
    Pairs so few that even unanimous ones could not show it say that instead, with the number that could.

    >>> found = verdicts([1.0] * 8, {"ours": [2.0, 3.0, 2.5, 2.6, 2.1, 2.2, 2.3, 2.4]}, than="theirs")
    >>> found["ours"].words
    'above theirs'
    >>> verdicts([1.0] * 3, {"ours": [2.0, 3.0, 2.5]}, than="theirs")["ours"].words
    'too few seeds to tell from theirs: 3, and 6 could'
    """
    judged = _judged([(values, reference, than) for values in others.values()])
    return dict(zip(others, judged, strict=True))


def every_pair(values: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], Verdict]:
    """Every rule against every other, both ways round: `(a, b)` says how a stands beside b.

    Adjusted by Holm for all pairs, so that the words are more careful than those of `verdicts`.

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
    """Verdicts of values beside a reference and its name, adjusted for all of them."""
    found = [paired(values, reference, "two-sided") for values, reference, _ in pairs]
    adjusted = holm([1.0 if math.isnan(each.p) else each.p for each in found])
    answers = []
    for (values, reference, than), (difference, p), p_adjusted in zip(pairs, found, adjusted, strict=True):
        differences = [x - y for x, y in zip(values, reference, strict=True)]
        words = _words(difference.mean, p_adjusted, len(differences), len(found), than)
        answers.append(Verdict(difference, effect_size(differences), p, p_adjusted, words))
    return answers


def _words(difference: float, p: float, pairs: int, comparisons: int, than: str) -> str:
    if math.isnan(difference):
        return f"no telling from {than}: an accuracy is not a number"
    enough = 1 + math.floor(1 - math.log2(LEVEL / comparisons))  # the first n with 2^(1 - n) comparisons < LEVEL
    if pairs < enough:
        return f"too few seeds to tell from {than}: {pairs}, and {enough} could"
    if p >= LEVEL:
        return f"not distinguishable from {than}"
    return f"{'above' if difference > 0 else 'below'} {than}"
