"""Numbers of a table as JSON and as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sandbox.machine.text import line
from sandbox.statistics import FEW, Interval


def as_interval(numbers: Sequence[float | None]) -> Interval:
    """Return an interval from its JSON form, in which NaN is null."""
    return Interval(*(math.nan if number is None else number for number in numbers))


def plain(interval: Interval) -> list[float | None]:
    """Return an interval for JSON, which has no NaN."""
    return [None if math.isnan(number) else number for number in interval]


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text, the first row underlined; each row stays a line, whatever its cells hold."""
    lines = [[line(cell) for cell in cells] for cells in lines]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def decided(verdict: str | None) -> str:
    """Return a verdict as a cell; a dash where there are too few seeds, which is said once, under the table."""
    return "-" if verdict is None or verdict.startswith(FEW) else verdict


def operations(cost: Mapping[str, float | None]) -> float:
    """Return the multiply-accumulates of a row in both directions; older tables lack those of errors and weights."""
    return sum(cost.get(f"{kind}_operations") or 0.0 for kind in ("synaptic", "error", "weight"))
