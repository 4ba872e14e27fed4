"""The table of a comparison: what its runs say, what may be concluded, and what a reader must know to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sandbox.comparisons.linear import Scale
from sandbox.machine.text import line
from sandbox.measures import NAMES, measured, score
from sandbox.runs.finished import FinishedRun, in_order, require_pairs
from sandbox.statistics import FEWEST, Interval, Verdict, interval, verdicts

BASELINE = "readout_only"
MANY = 0.1  # share of ties above which a reader should know
DAGGER = "\u2020"  # marks rules whose runs are not strictly comparable
FEW = "too few seeds"  # how such a verdict begins (`sandbox.statistics.verdicts`)


def make_table(
    task: str,
    runs: Mapping[str, Sequence[FinishedRun]],
    scale: Scale,
    *,
    damaged: Mapping[str, str] | None = None,
    unfit: Mapping[str, str] | None = None,
    revisions: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Build the table: accuracies in percent, intervals, paired differences with verdicts, and costs.

    On a task without classes, `accuracy` and `accuracies` hold what the table's `measure` says, R2 or F1, in percent.
    Every rule has the same seeds. `damaged` folders, `unfit` rules and the code `revisions` go into the notes.
    """
    rows = make_rows(runs)
    return {
        "task": task,
        "baseline": BASELINE,
        "linear": scale.linear,
        "chance": scale.chance,
        "measure": scale.measure,
        **({} if scale.why is None else {"without_linear": scale.why}),
        "rows": rows,
        "seeds": [run.seed for run in in_order(runs[BASELINE])],
        "damaged": dict(damaged or {}),
        "unfit": dict(unfit or {}),
        "revisions": dict(revisions or {}),
    }


def make_rows(runs: Mapping[str, Sequence[FinishedRun]]) -> list[dict[str, Any]]:
    """Return the rows of a table, one for each rule; raise ValueError for rules with different seeds."""
    runs = {label: in_order(found) for label, found in runs.items()}
    require_pairs(runs)
    results = {label: [run.result for run in found] for label, found in runs.items()}
    accuracies = {label: [100 * score(r["test"]) for r in found] for label, found in results.items()}
    reference = accuracies[BASELINE]
    others = {label: values for label, values in accuracies.items() if label != BASELINE}
    verdict = verdicts(reference, others, BASELINE)
    return [_row(label, runs[label], accuracies[label], verdict.get(label)) for label in results]


def _row(label: str, runs: Sequence[FinishedRun], accuracy: list[float], verdict: Verdict | None) -> dict[str, Any]:
    found = [run.result for run in runs]
    areas = [run.area for run in runs if run.area is not None]
    return {
        "rule": label,
        "seeds": len(found),
        "accuracies": accuracy,
        "accuracy": plain(interval(accuracy)),
        "ties": _mean([result["test"].get("ties", 0.0) for result in found]),
        "validation": plain(interval([100 * score(result["validation"]) for result in found])),
        "gap": plain(interval([100 * (score(r["train"]) - score(r["test"])) for r in found])),
        "area": plain(interval(areas)) if areas else None,
        "asked": {
            mode: plain(interval([100 * r["test"][f"{measured(r['test'])}_{mode}"] for r in found]))
            for mode in modes(found[0])
        },
        "over_baseline": None if verdict is None else plain(verdict.difference),
        "effect": None if verdict is None or not math.isfinite(verdict.effect) else verdict.effect,
        "p": None if verdict is None else verdict.p,
        "p_adjusted": None if verdict is None else verdict.adjusted,
        "verdict": None if verdict is None else verdict.words,
        "parameters_trained": found[0]["parameters_trained"],
        "cost": {key: _mean([r["cost"].get(key) for r in found]) for key in found[0]["cost"]},
        "health": sorted({line for result in found for line in result["health"]}),
        "test_evaluations": max(run.test_evaluations for run in runs),
        "revisions": sorted({run.revision for run in runs}),
        "changed": sorted({name for run in runs for name in run.changed}),
    }


def _mean(numbers: Sequence[float | None]) -> float | None:
    """None where one is missing."""
    known = [number for number in numbers if number is not None]
    return float(np.mean(known)) if len(known) == len(numbers) else None


def modes(result: dict[str, Any]) -> list[str]:
    """Return the further ways in which a model was evaluated; measures without a mode are those of the first."""
    start = f"{measured(result['test'])}_"
    found = (key.removeprefix(start) for key in result["test"] if key.startswith(start))
    return [mode for mode in found if not mode.startswith("at_")]


def noun(table: Mapping[str, Any]) -> str:
    """Return what the table's numbers are called: accuracy, R2 or F1."""
    return NAMES[table.get("measure", "accuracy")]


def linear_name(table: Mapping[str, Any]) -> str:
    """Return what the linear baseline is called."""
    return "linear regression" if table.get("measure") == "r2" else "linear classifier"


def format_table(table: dict[str, Any]) -> str:
    """Return the table as text, and its notes."""
    head = (
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
    lines: list[Sequence[str]] = [head]
    for row in table["rows"]:
        lines.append(
            (
                f"{row['rule']} {DAGGER}" if row.get("changed") else row["rule"],
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
        lines.append((linear_name(table), f"{table['linear']:.2f}", *["-"] * (len(head) - 2)))
    return "\n".join([columns(lines), *map(line, notes(table))])


def operations(cost: Mapping[str, float]) -> float:
    """Return the multiply-accumulates of a row in both directions; older tables lack those of errors and weights."""
    return sum(cost.get(f"{kind}_operations") or 0.0 for kind in ("synaptic", "error", "weight"))


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as text, the first row underlined; each row stays a line, whatever its cells hold."""
    lines = [[line(cell) for cell in cells] for cells in lines]
    widths = [max(len(cells[column]) for cells in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def decided(verdict: str | None) -> str:
    """Return a verdict as a cell; a dash where seeds are too few, which is said once, under the table."""
    return "-" if verdict is None or verdict.startswith(FEW) else verdict


def notes(table: dict[str, Any]) -> list[str]:
    """Return what a reader must know to trust the table; empty where there is nothing to know."""
    seeds = min(row["seeds"] for row in table["rows"])
    found = []
    if seeds < FEWEST:
        found.append(
            f"no intervals: {seeds} seed{'s' if seeds > 1 else ''} cannot show a spread; give at least {FEWEST}"
        )
    few = next((row["verdict"] for row in table["rows"] if (row.get("verdict") or "").startswith(FEW)), None)
    if few is not None:
        found.append(f"no verdicts, only intervals: {few}")
    if table.get("without_linear"):
        found.append(f"no {linear_name(table)}: {table['without_linear']}")
    found += [f"left out, does not fit: {label}: {why}" for label, why in table.get("unfit", {}).items()]
    damaged = table.get("damaged", {})
    if damaged:
        folders = f"{len(damaged)} damaged run folder{'s' if len(damaged) > 1 else ''}"
        found.append(
            f"{folders} skipped, and the seed with it for every rule, so that pairs stay pairs; remove the "
            "folder and resume to run it again:"
        )
        found += [f"  {name}: {why}" for name, why in damaged.items()]
    tied = {row["rule"]: row.get("ties") or 0.0 for row in table["rows"]}
    many = ", ".join(f"{share:.0%} of {rule}" for rule, share in tied.items() if share > MANY)
    if many:
        found.append(
            f"many test answers are ties, of which the first class counts: {many}; a silent network scores the share "
            "of class 0"
        )
    if len(table.get("revisions", {})) > 1:
        made = ", ".join(f"{count} by {revision[:12]}" for revision, count in table["revisions"].items())
        found.append(f"mixed code revisions, not strictly comparable: {made}")
    changed = [f"{row['rule']} ({', '.join(row['changed'])})" for row in table["rows"] if row.get("changed")]
    if changed:
        found.append(
            f"{DAGGER} with runs that are not all made with the same code, data or kernels, or were continued with "
            f"others (--accept-changes): {', '.join(changed)}"
        )
    looked = {row["rule"]: row.get("test_evaluations", 1) for row in table["rows"]}
    more = ", ".join(f"{rule} {times} times" for rule, times in looked.items() if times > 1)
    if more:
        found.append(
            f"the test set was evaluated more than once in runs of: {more}; a number chosen among several "
            "evaluations is too good"
        )
    return found


def as_interval(numbers: Sequence[float | None]) -> Interval:
    """Return an interval from its JSON form, in which NaN is null."""
    return Interval(*(math.nan if number is None else number for number in numbers))


def plain(interval: Interval) -> list[float | None]:
    """Return an interval for JSON, which has no NaN."""
    return [None if math.isnan(number) else number for number in interval]
