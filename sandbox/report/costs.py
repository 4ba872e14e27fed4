"""Accuracy against every cost that was counted, one at a time, chosen by the reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sandbox.comparisons.table import as_interval
from sandbox.report import interactive, theme, wording
from sandbox.report.canvas import Choice, Plot
from sandbox.report.figures import PRICES, Price, as_number
from sandbox.runs.finished import FinishedRun

MEASURED = ("seconds", "peak_bytes")  # of a run, by its clock and its memory


def plot(table: dict[str, Any]) -> Plot:
    """The first price of the printed figures, and all others to choose from."""
    middles = {row["rule"]: as_interval(row["accuracy"]) for row in table["rows"]}
    first, *_ = found = prices(table)
    figure = interactive.scatter(middles, costs(table, first), label(first), "test accuracy [%]", table["linear"])
    choices = tuple(_choice(table, price) for price in found)
    return Plot(wording.cost_message(table, first), figure, choices if len(choices) > 1 else ())


def with_measured(table: dict[str, Any], runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """The table, whose costs are the same on every machine, with those that this one measured."""

    def mean(rule: str, what: str) -> float | None:
        found = [number for run in runs if run.rule == rule and (number := run.measured.get(what)) is not None]
        return sum(found) / len(found) if found else None

    rows = [
        {**row, "cost": {**row["cost"], **{what: mean(row["rule"], what) for what in MEASURED}}}
        for row in table["rows"]
    ]
    return {**table, "rows": rows}


def prices(table: dict[str, Any]) -> list[Price]:
    """Those of the printed figures, then every other number that is not 0 for all rules."""
    known = {price.key: price for price in PRICES.values()}
    keys = [*known, *(key for key in table["rows"][0]["cost"] if key not in known)]
    counted = [key for key in keys if any(costs(table, Price(key, "", "")).values())]
    return [known.get(key) or Price(key, key.replace("_", " "), "") for key in counted] or [known[keys[0]]]


def costs(table: dict[str, Any], price: Price) -> dict[str, float]:
    """What each rule paid; NaN where that is not known."""
    return {row["rule"]: as_number(row["cost"].get(price.key)) for row in table["rows"]}


def label(price: Price) -> str:
    """The name of the axis."""
    return theme.name(f"{price.word} while learning" + (f" [{price.unit}]" if price.unit else ""))


def _choice(table: dict[str, Any], price: Price) -> Choice:
    paid = list(costs(table, price).values())
    whole = [cost for cost in paid if math.isfinite(cost)] or [0.0]
    x: list[list[float | None]] = [theme.numbers([cost]) for cost in paid]
    x.append(theme.numbers([min(whole), max(whole)]))  # of the linear classifier, which comes last
    axis = {f"xaxis.{key}": part for key, part in interactive.cost_axis(paid).items()}
    layout = {"xaxis.title.text": theme.broken(label(price)), **axis}
    return Choice(price.word, wording.cost_message(table, price), {"x": x}, layout)
