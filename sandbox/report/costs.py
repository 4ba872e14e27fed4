"""Figures of test accuracy against cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sandbox.comparisons.cells import as_interval
from sandbox.comparisons.contents import noun
from sandbox.report.figures import Choice, Figure, Scatter, linear_model
from sandbox.report.wording import column, count, height, hundredths
from sandbox.runs.finished import FinishedRun

MEASURED = ("seconds", "peak_bytes")  # wall time and peak memory of a run on this machine


class Price(NamedTuple):
    """A cost that accuracy is drawn against."""

    key: str  # in the table
    name: str  # on the axis
    unit: str = ""
    when: str = " during learning"

    @property
    def label(self) -> str:
        """The name of the axis."""
        return self.name + self.when + (f" [{self.unit}]" if self.unit else "")


SIZES = {  # of what was learned
    "model_bits": Price("model_bits", "model bits", when=""),
    "nonzero_parameters": Price("nonzero_parameters", "nonzero parameters", when=""),
}
PRICES = {
    "cost": Price("synaptic_operations", "synaptic operations", "multiply-accumulates"),
    "evaluations": Price("layer_evaluations", "layer evaluations", "one layer on a whole batch"),
}


def figures(table: dict[str, Any]) -> list[Figure]:
    """Build one printed figure for each of PRICES; the page shows a single plot with a menu of all costs."""
    choices = tuple(Choice(price.name, message(table, price), _scatter(table, price)) for price in prices(table))
    return [
        Figure(
            name,
            message(table, price),
            _alt(table, price),
            [_row(row, column(table)) for row in table["rows"]],
            _scatter(table, price),
            plotted=name == "cost",
            choices=choices,
        )
        for name, price in PRICES.items()
    ]


def with_measured(table: dict[str, Any], runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Add the wall time and memory measured on this machine to the counted costs, which no machine changes."""

    def mean(rule: str, what: str) -> float | None:
        found = [number for run in runs if run.rule == rule and (number := run.measured.get(what)) is not None]
        return sum(found) / len(found) if found else None

    rows = [
        {**row, "cost": {**row["cost"], **{what: mean(row["rule"], what) for what in MEASURED}}}
        for row in table["rows"]
    ]
    return {**table, "rows": rows}


def prices(table: dict[str, Any]) -> list[Price]:
    """List the costs of the printed figures, then every other cost that is not 0 for all rules."""
    printed = [price.key for price in PRICES.values()]
    known = {price.key: price for price in [*PRICES.values(), *SIZES.values()]}
    keys = [*printed, *(key for key in table["rows"][0]["cost"] if key not in printed)]
    counted = [key for key in keys if any(_paid(table, key).values())]
    return [known.get(key) or Price(key, key.replace("_", " ")) for key in counted] or [known[printed[0]]]


def message(table: dict[str, Any], price: Price) -> str:
    """State what the rule with the highest mean accuracy costs relative to the baseline."""
    task, baseline = table["task"], table["baseline"]
    best = max(table["rows"], key=height)
    reference = next(row for row in table["rows"] if row["rule"] == baseline)
    if best is reference:
        return f"{task}: no rule has a higher mean than {baseline}, at any cost"
    noun = price.name.split()[-1]
    ours, theirs = (row["cost"][price.key] for row in (best, reference))
    if not all(cost is not None and math.isfinite(cost) for cost in (ours, theirs)):
        return f"{task}: {best['rule']} has the highest mean; {noun} are not known for every rule"
    if ours == theirs:
        return f"{task}: {best['rule']} has the highest mean, at {baseline}'s {noun}"
    times = f"{ours / theirs:.3g} ×" if theirs else "more than"
    return f"{task}: {best['rule']} has the highest mean, at {times} {baseline}'s {noun}"


def _scatter(table: dict[str, Any], price: Price) -> Scatter:
    means = {row["rule"]: as_interval(row["accuracy"]) for row in table["rows"]}
    return Scatter(price.label, f"test {noun(table)} [%]", means, _paid(table, price.key), linear_model(table))


def _paid(table: dict[str, Any], key: str) -> dict[str, float]:
    """Return the cost of each rule; NaN where it is unknown."""
    paid = {row["rule"]: row["cost"].get(key) for row in table["rows"]}
    return {rule: math.nan if cost is None else cost for rule, cost in paid.items()}


def _row(row: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one CSV row: test accuracy with its interval in percent, and the costs."""
    accuracy = dict(zip((name, "low", "high"), row["accuracy"], strict=True))
    return {"rule": row["rule"], "seeds": row["seeds"], **accuracy, **row["cost"]}


def _alt(table: dict[str, Any], price: Price) -> str:
    """Describe the points of the figure."""
    points = "; ".join(
        f"{row['rule']}: {hundredths(row['accuracy'][0])} at {count(row['cost'][price.key])}" for row in table["rows"]
    )
    return f"Test {noun(table)} in percent against {price.name}. {points}."
