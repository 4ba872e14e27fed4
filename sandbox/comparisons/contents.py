"""What a table holds, read from its JSON form; tables of earlier versions lack some of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sandbox.comparisons.resolution import Resolution, resolution
from sandbox.comparisons.settings import blocks
from sandbox.config.rule import LINEAR
from sandbox.measures import NAMES

Table = Mapping[str, Any]


def noun(table: Table) -> str:
    """Return what the table's numbers are called: accuracy, R2 or F1."""
    return NAMES[table.get("measure", "accuracy")]


def linear_name(table: Table) -> str:
    """Return what the linear baseline is called."""
    return LINEAR[table.get("measure") == "r2"]


def distinct(table: Table) -> dict[str, Any]:
    """Return the table without the rows of rules that coincide with another."""
    return {**table, "rows": [row for row in table["rows"] if not row.get("coincides")]}


def shown(table: Table, rule: str) -> str:
    """Return the name of a row: that of the rule, and of the rules that coincide with it.

    >>> shown({"rows": [{"rule": "hzo"}, {"rule": "layerwise_zo", "coincides": "hzo"}]}, "hzo")
    'hzo = layerwise_zo'
    """
    return " = ".join([rule, *(row["rule"] for row in table["rows"] if row.get("coincides") == rule)])


def values_of(table: Table) -> dict[str, list[float]]:
    """Return the accuracies of all seeds [%] by rule."""
    return {row["rule"]: [math.nan if x is None else x for x in row["accuracies"]] for row in table["rows"]}


def blocks_of(table: Table) -> list[int] | None:
    """Return the search of each seed, over which intervals and verdicts are; None where they are over seeds."""
    return blocks([row.get("searches") for row in table["rows"]])


def again_in(table: Table) -> dict[str, str]:
    """Return the first row of the same rule, by each row that has it again."""
    return {row["rule"]: row["again"] for row in table["rows"] if row.get("again")}


def resolution_of(table: Table) -> Resolution | None:
    """Return the resolution of a table in points; None where no rule is there twice."""
    return resolution(values_of(table), again_in(table), blocks_of(table))


def replicates(table: Table) -> str:
    """Return what intervals and verdicts are over: seeds, or searches."""
    return "seeds" if blocks_of(table) is None else "searches"
