"""The table of a comparison: what its runs say, what may be concluded, and what a reader must know to believe it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.comparisons.apart import apart
from sandbox.comparisons.cells import as_interval, columns, decided, operations
from sandbox.comparisons.contents import distinct, linear_name, noun, shown
from sandbox.comparisons.linear import Scale
from sandbox.comparisons.notes import DAGGER, head, notes
from sandbox.comparisons.rows import BASELINE, answers_of, make_rows
from sandbox.machine.text import line
from sandbox.runs.finished import FinishedRun, in_order

__all__ = ["BASELINE", "as_interval", "distinct", "format_table", "linear_name", "make_table", "notes", "noun"]


def make_table(
    task: str,
    runs: Mapping[str, Sequence[FinishedRun]],
    scale: Scale,
    *,
    damaged: Mapping[str, str] | None = None,
    unfit: Mapping[str, str] | None = None,
    revisions: Mapping[str, int] | None = None,
    coincides: Mapping[str, str] | None = None,
    published: Sequence[str] = (),
) -> dict[str, Any]:
    """Build the table: accuracies in percent, intervals, paired differences with verdicts, and costs.

    On a task without classes, `accuracy` and `accuracies` hold what the table's `measure` says, R2 or F1, in percent.
    Every rule has the same seeds. `damaged` folders, `unfit` rules and the code `revisions` go into the notes; rules
    that coincide (`sandbox.comparisons.coinciding`) are shown as one. `published` figures for the task stand below.
    """
    rows = make_rows(runs, coincides)
    seeds = [run.seed for run in in_order(next(iter(runs.values())))]
    differs = apart(runs)
    return {
        "task": task,
        "baseline": BASELINE,
        "linear": scale.linear,
        "chance": scale.chance,
        "measure": scale.measure,
        **({} if scale.why is None else {"without_linear": scale.why}),
        "rows": rows,
        **({"differs": differs} if differs else {}),
        "seeds": seeds,
        "answers": answers_of(runs),
        "coincides": dict(coincides or {}),
        "published": list(published),
        "damaged": dict(damaged or {}),
        "unfit": dict(unfit or {}),
        "revisions": dict(revisions or {}),
    }


def format_table(table: dict[str, Any]) -> str:
    """Return the table as text with the accuracies at smaller budgets, and its notes."""
    text = [columns(_lines(table)), *_variants(table), *_budgets(table)]
    return "\n".join([*map(line, head(table)), *text, *map(line, notes(table))])


def _lines(table: dict[str, Any]) -> list[Sequence[str]]:
    titles = (
        "rule",
        f"test {noun(table)} % [95 %]",
        f"over {table['baseline']}",
        "verdict",
        "d_z",
        "area %",
        "seeds",
        "trained",
        "operations",
    )
    lines: list[Sequence[str]] = [titles]
    for row in distinct(table)["rows"]:
        lines.append(
            (
                f"{shown(table, row['rule'])} {DAGGER}" if row.get("changed") else shown(table, row["rule"]),
                str(as_interval(row["accuracy"])),
                "-" if row["over_baseline"] is None else str(as_interval(row["over_baseline"])),
                decided(row.get("verdict")),
                "-" if row.get("effect") is None else f"{row['effect']:.2f}",
                "-" if row.get("area") is None else f"{row['area'][0]:.2f}",
                str(row["seeds"]),
                str(row["parameters_trained"]),
                f"{operations(row['cost']):.3g}",
            )
        )
    if table["linear"] is not None:
        lines.append((linear_name(table), f"{table['linear']:.2f}", *["-"] * (len(titles) - 2)))
    return lines


def _variants(table: dict[str, Any]) -> list[str]:
    """Return the test accuracy under each variant of the rules that have some, as text; empty without."""
    rows = [row for row in distinct(table)["rows"] if row.get("variants")]
    names = list(dict.fromkeys(each["variant"] for row in rows for each in row["variants"]))
    if not rows:
        return []
    titles = ("rule", *(f"{name}: test {noun(table)} %" for name in names), "taken by validation")
    lines: list[Sequence[str]] = [titles]
    for row in rows:
        found = {each["variant"]: each for each in row["variants"]}
        cells = (str(as_interval(found[name]["accuracy"])) if name in found else "-" for name in names)
        taken = ", ".join(f"{each['variant']} {each['taken']}" for each in row["variants"])
        lines.append((shown(table, row["rule"]), *cells, taken))
    return ["", columns(lines)]


def _budgets(table: dict[str, Any]) -> list[str]:
    """Return the validation accuracy with parts of the epochs, and at equal operations, as text; empty without it."""
    rows = [row for row in distinct(table)["rows"] if row.get("budgets")]
    if not rows:
        return []
    parts = {"first": "1 epoch", "half": "half", "whole": "all", "operations": "at equal operations"}
    lines = [(f"validation {noun(table)} %", *parts.values())]
    for row in rows:
        found = [row["budgets"].get(part) for part in parts]
        cells = ("-" if each is None else str(as_interval(each)).partition(" (")[0] for each in found)
        lines.append((shown(table, row["rule"]), *cells))
    return ["", columns(lines), ""]
