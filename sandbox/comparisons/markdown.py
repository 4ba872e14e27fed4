"""Tables and rankings as Markdown, for pages that quote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.comparisons.cells import as_interval, decided
from sandbox.comparisons.contents import distinct, linear_name, noun, shown


def markdown(found: Mapping[str, Any]) -> str:
    """Return the rows of a table, or of a ranking over tasks, as a Markdown table.

    Args:
        found: what `table.json` or `overall.json` holds.

    >>> row = {"rule": "bptt", "accuracy": [90.0, 88.0, 92.0], "verdict": "above readout_only"}
    >>> print(markdown({"task": "digits", "baseline": "readout_only", "linear": 95.0, "rows": [row]}))
    | rule | test accuracy % | beside `readout_only` |
    | --- | --- | --- |
    | `bptt` | 90.00 [88.00, 92.00] | above |
    | linear classifier | 95.00 | |
    """
    return _grid(_ranking(found) if "tables" in found else _table(found))


def _table(table: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return the cells of one comparison."""
    lines: list[Sequence[str]] = [("rule", f"test {noun(table)} %", f"beside `{table['baseline']}`")]
    for row in distinct(table)["rows"]:
        height = str(as_interval(row["accuracy"])).partition(" (")[0]
        lines.append((_code(table, row["rule"]), height, _beside(row.get("verdict"), table["baseline"])))
    return [*lines, (linear_name(table), _number(table.get("linear")), "")]


def _ranking(overall: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return the cells of a ranking; rules that are not on every task stand below it, without a score."""
    names, baseline = list(overall["tasks"]), overall["baseline"]
    tables = [overall["tables"][name] for name in names]
    lines: list[Sequence[str]] = [
        ("rule", "score", f"beside `{baseline}`", *(f"{overall['tasks'][name]} %" for name in names))
    ]
    for row in distinct(overall)["rows"]:
        heights = (_number(row["accuracies"][name][0]) for name in names)
        score = str(as_interval(row["score"]))
        lines.append((_code(overall, row["rule"]), score, _beside(row["verdict"], baseline), *heights))
    for rule in overall["not_on_all"]:
        found = [next((row for row in table["rows"] if row["rule"] == rule), None) for table in tables]
        heights = ("" if row is None else _number(row["accuracy"][0]) for row in found)
        lines.append((f"`{rule}`", "", "", *heights))
    return [*lines, ("linear classifier", "", "", *(_number(table.get("linear")) for table in tables))]


def _beside(verdict: str | None, baseline: str) -> str:
    """Return a verdict without the reference, which the head of the column names."""
    return "–" if verdict is None else decided(verdict).replace(f" from {baseline}", "").replace(f" {baseline}", "")


def _code(found: Mapping[str, Any], rule: str) -> str:
    return " = ".join(f"`{name}`" for name in shown(found, rule).split(" = "))


def _number(height: float | None) -> str:
    return "" if height is None else f"{height:.2f}"


def _grid(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of cells, the first of them the head; a bar in a name does not end its cell."""
    head, *rest = ("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)
    text = "\n".join([head, "|" + " --- |" * len(lines[0]), *rest])
    while "|  |" in text:
        text = text.replace("|  |", "| |")
    return text
