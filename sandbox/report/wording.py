"""Verdicts put into titles, and readable numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sandbox.comparisons.table import as_interval

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


def standing(verdicts: Mapping[str, str], baseline: str) -> str:
    """State which rules are above the baseline, by the verdicts that the table shows.

    >>> standing({"bptt": "above readout_only", "spsa": "below readout_only"}, "readout_only")
    'bptt is above readout_only'
    """
    if not verdicts:
        return f"{baseline} alone"
    if undecided(verdicts):
        return f"too few seeds for verdicts against {baseline}"
    above = [rule for rule, words in verdicts.items() if words.startswith("above")]
    if not above:
        return f"no rule is above {baseline}"
    return f"{named(above, verdicts)} {'is' if len(above) == 1 else 'are'} above {baseline}"


def named(found: list[str], verdicts: Mapping[str, str]) -> str:
    """Name a single rule; count several."""
    return found[0] if len(found) == 1 else f"{len(found)} of {len(verdicts)} rules"


def undecided(verdicts: Mapping[str, str]) -> bool:
    """Tell whether seeds are too few for any verdict."""
    return all(words.startswith("too few seeds") for words in verdicts.values())


def verdicts_of(table: dict[str, Any]) -> dict[str, str]:
    """Return the verdict of each rule against the baseline."""
    return {row["rule"]: row.get("verdict") or "" for row in table["rows"] if row["rule"] != table["baseline"]}


def column(table: Mapping[str, Any]) -> str:
    """Return the name of the column of a CSV file that holds the measure of the test set."""
    return f"test_{table.get('measure', 'accuracy')}_percent"


def height(row: dict[str, Any]) -> float:
    """Return a rule's mean accuracy as a key for ranking; a rule without one comes last."""
    mean = as_interval(row["accuracy"]).mean
    return -math.inf if math.isnan(mean) else mean
