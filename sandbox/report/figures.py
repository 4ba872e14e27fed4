"""Descriptions of figures: `printed` draws them as PNG, `interactive` in a browser. A new figure is one `Figure`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from sandbox.comparisons.contents import linear_name
from sandbox.statistics import Interval


class Curve(NamedTuple):
    """One curve per seed of a rule, all over the same axis."""

    x: Sequence[float]
    seeds: list[list[float]]  # [seeds, points]
    band: Sequence[Interval] = ()  # of the mean at each point; empty where none is drawn

    def thinned(self, most: int = 200) -> Curve:
        """Keep at most `most` points, among them the first and the last."""
        if len(self.x) <= most:
            return self
        kept = np.unique(np.linspace(0, len(self.x) - 1, most).astype(int))
        seeds = [[seed[i] for i in kept] for seed in self.seeds]
        return Curve([self.x[i] for i in kept], seeds, [self.band[i] for i in kept] if self.band else ())


class Line(NamedTuple):
    """A reference value, drawn as a dotted line."""

    at: float
    label: str


def linear_model(table: Mapping[str, Any]) -> Line | None:
    """Return the line at the linear model's test accuracy, or other measure [%]; None without that model."""
    at = table["linear"]
    return None if at is None else Line(at, f"{linear_name(table)}, test {at:.2f} %")


@dataclass(frozen=True)
class Curves:
    """The mean curve of each rule, with its seeds."""

    x: str  # name of the axis, its unit in brackets
    y: str
    curves: Mapping[str, Curve]  # by rule
    line: Line | None = None
    note: str = ""  # title of the printed legend; by default it explains how the seeds are drawn
    whole: bool = False  # whether printed ticks are whole numbers
    tick: float | None = None  # distance between ticks in a browser
    every: int | None = None  # points from one printed marker to the next
    limits: tuple[float, float] | None = None  # of the printed y axis


@dataclass(frozen=True)
class Panels:
    """Curves of the same rules in one panel per layer, on common axes."""

    x: str
    y: str
    layers: Mapping[str, Mapping[str, Curve]]  # by layer, then by rule
    limits: tuple[float, float]  # of the y axis


@dataclass(frozen=True)
class Dots:
    """One row per rule, the first on top: the mean with its interval, and every seed."""

    x: str
    means: Mapping[str, Interval]
    seeds: Mapping[str, Sequence[float]]  # drawn only where a rule has more than one
    note: str = ""  # title of the printed legend
    line: Line | None = None
    places: Mapping[str, int] = field(default_factory=dict)  # row of each rule in the table, where the order differs

    @property
    def looks(self) -> list[int]:
        """The number of the colour and marker of each row: that of the rule in the table."""
        return [self.places.get(rule, row) for row, rule in enumerate(self.means)]


@dataclass(frozen=True)
class Scatter:
    """One point per rule: the mean with its interval, against a cost."""

    x: str
    y: str
    means: Mapping[str, Interval]
    costs: Mapping[str, float]  # NaN where unknown
    line: Line | None = None

    @property
    def known(self) -> list[float]:
        """The finite costs; a single 0 where there are none."""
        return [cost for cost in self.costs.values() if math.isfinite(cost)] or [0.0]

    @property
    def note(self) -> str:
        """An explanation of the bars, where there are any."""
        return "bar: 95 % interval of the mean" if any(math.isfinite(m.low) for m in self.means.values()) else ""


@dataclass(frozen=True)
class Matrix:
    """A matrix of cells, each with a colour and a text."""

    x: Sequence[str]
    y: Sequence[str]
    values: Sequence[Sequence[float]]  # [rows, columns]; NaN has no colour
    text: Sequence[Sequence[str]]
    hover: Sequence[Sequence[Sequence[str]]]  # lines of the label of each cell in a browser
    bar: str = ""  # name of the printed colour bar; none without a name
    reach: float | None = None  # value of the strongest colour; by default the largest magnitude

    @property
    def largest(self) -> float:
        """The reach, or the largest magnitude among the values."""
        finite = (abs(value) for row in self.values for value in row if math.isfinite(value))
        return self.reach or max(finite, default=1.0) or 1.0


Content: TypeAlias = Curves | Panels | Dots | Scatter | Matrix


class Choice(NamedTuple):
    """One of several contents from which a reader may choose."""

    label: str
    title: str
    content: Content


@dataclass(frozen=True)
class Figure:
    """One figure of a report."""

    name: str  # of its files
    title: str
    alt: str  # its numbers in words, for readers who cannot see it
    rows: Sequence[dict[str, Any]]  # the numbers behind it, one line of the CSV each
    content: Content
    printed: bool = True  # as PNG
    plotted: bool = True  # in a browser
    choices: tuple[Choice, ...] = ()  # what a browser shows instead, beginning with the first
