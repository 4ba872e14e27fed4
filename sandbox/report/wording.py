"""Readable numbers, and names of columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sandbox.comparisons.cells import as_interval

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


def column(table: Mapping[str, Any]) -> str:
    """Return the name of the column of a CSV file that holds the measure of the test set."""
    return f"test_{table.get('measure', 'accuracy')}_percent"


def height(row: dict[str, Any]) -> float:
    """Return a rule's mean accuracy as a key for ranking; a rule without one comes last."""
    mean = as_interval(row["accuracy"]).mean
    return -math.inf if math.isnan(mean) else mean
