"""Verdicts that follow from intervals, and readable numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sandbox.comparisons.table import as_interval
from sandbox.statistics import Interval

SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(number: float | None) -> str:
    """Write a large count.

    >>> count(12500), count(3.21e9)
    ('12,500', '3.21 × 10⁹')
    """
    if number is None or not math.isfinite(number):
        return "–"
    if abs(number) < 1e6:
        return f"{number:,.0f}"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"


def hundredths(number: float | None) -> str:
    """Write a number with two decimals, or a dash where it is unknown.

    >>> hundredths(93.456), hundredths(None)
    ('93.46', '–')
    """
    return "–" if number is None or not math.isfinite(number) else f"{number:.2f}"


def verdict(over_baseline: Sequence[float | None], baseline: str) -> str:
    """Put a paired difference `(mean, low, high)` into words.

    >>> verdict([1.0, -0.5, 2.0], "readout_only")
    'not distinguishable from readout_only at these seeds'
    >>> verdict([1.0, 0.5, 2.0], "readout_only")
    'above readout_only'
    """
    _, low, high = over_baseline
    if low is None or high is None:
        return "no verdict: fewer than 3 seeds have no interval"
    if low <= 0 <= high:
        return f"not distinguishable from {baseline} at these seeds"
    return f"above {baseline}" if low > 0 else f"below {baseline}"


def standing(over: dict[str, Interval], baseline: str) -> str:
    """State which rules are above the baseline, by the intervals of their paired differences."""
    if not over:
        return f"{baseline} alone"
    if few_seeds(over):
        return "fewer than 3 seeds, so no ranking"
    above = [rule for rule, (_, low, _) in over.items() if low > 0]
    if not above:
        return f"no rule is above {baseline}"
    return f"{named(above, over)} {'is' if len(above) == 1 else 'are'} above {baseline}"


def named(found: list[str], over: dict[str, Interval]) -> str:
    """Name a single rule; count several."""
    return found[0] if len(found) == 1 else f"{len(found)} of {len(over)} rules"


def few_seeds(over: dict[str, Interval]) -> bool:
    """Tell whether an interval is missing, so that the rules cannot be ranked."""
    return any(math.isnan(low) for _, low, _ in over.values())


def height(row: dict[str, Any]) -> float:
    """Return a rule's mean accuracy as a key for ranking; a rule without one comes last."""
    mean = as_interval(row["accuracy"]).mean
    return -math.inf if math.isnan(mean) else mean
