"""What a reader must know to trust a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from sandbox.comparisons.chance import above_chance
from sandbox.comparisons.contents import (
    Table,
    blocks_of,
    distinct,
    linear_name,
    replicates,
    resolution_of,
    shown,
)
from sandbox.comparisons.needed import needed
from sandbox.statistics import FEW, FEWEST

MANY = 0.1  # share of ties above which a reader should know
DAGGER = "\u2020"  # marks rules whose runs are not strictly comparable


def head(table: Table) -> list[str]:
    """Return what stands above a table: whether its intervals contain the error of tuning."""
    return list(_replicates(table))


def notes(table: Table) -> list[str]:
    """Return what a reader must know to trust the table; empty where there is nothing to know."""
    found = at_chance(table) or needed(table)
    more = [] if found is None else [found]
    told = [*_evidence(table), *more, *_numbered(table), *_searched(table), *_same(table), *_runs(table)]
    return [*told, *table.get("published", [])]


def at_chance(table: Table) -> str | None:
    """Return a note that no rule is above chance, where that is so; differences of such rules are those of guesses."""
    if table.get("chance") is None:
        return None
    above, test = above_chance(table)
    if above:
        return None
    return f"no rule is above chance, {table['chance']:.2f} % ({test}): differences are those of guesses"


def cautions(table: Table) -> list[str]:
    """Return the notes that a ranking repeats: what intervals are over, and which runs are not as they should be."""
    return [*head(table), *_evidence(table), *_runs(table)]


def _evidence(table: Table) -> Iterator[str]:
    """Say what intervals and verdicts are over, and where there are too few for them."""
    what, of = replicates(table), blocks_of(table)
    count = min(row["seeds"] for row in table["rows"]) if of is None else len(set(of))
    if count < FEWEST:
        kind = what if count > 1 else "seed"
        yield f"no intervals: {count} {kind} cannot show a spread; give at least {FEWEST}"
    few = next((row["verdict"] for row in table["rows"] if (row.get("verdict") or "").startswith(FEW)), None)
    if few is not None:
        yield f"no verdicts{', only intervals' if count >= FEWEST else ''}: {few}"


def _replicates(table: Table) -> Iterator[str]:
    """Say whether the error of tuning is in the intervals; nothing in tables that do not know."""
    if any("searches" not in row for row in table["rows"]):
        return
    elsewhere = [row["rule"] for row in table["rows"] if (row.get("settings") or {}).get("elsewhere")]
    if elsewhere:
        yield (
            f"settings of {', '.join(elsewhere)} were searched on another task, network or length: the error of tuning "
            "them for this one is not in the interval"
        )
        return
    found, of = [row["searches"] for row in table["rows"] if row["searches"] is not None], blocks_of(table)
    if of is not None:
        each = sorted(set(Counter(of).values()))
        seeds = "1 seed" if each == [1] else f"{each[0]} seeds" if len(each) == 1 else f"{each[0]} to {each[-1]} seeds"
        yield (
            f"intervals and verdicts are over {len(set(of))} searches of tuning with {seeds} each, so the error of "
            "tuning is in them"
        )
    elif not found:
        yield "settings given, none searched: tuning error not in the interval"
    elif all(len(set(each)) == 1 for each in found):
        yield "one search of tuning for each rule: tuning error not in the interval"
    else:
        yield "rules do not share their searches seed by seed: tuning error not in the interval"


def _numbered(table: Table) -> Iterator[str]:
    """Say what a row with a number at its name is, such as `bptt#2`."""
    yield from (f"{label} is {differs}" for label, differs in table.get("differs", {}).items())


def _searched(table: Table) -> Iterator[str]:
    """Say for each rule which options no search varied, and which of those found lie at an end of their range."""
    rows = [row for row in table["rows"] if row.get("settings")]
    if not any(row.get("searches") for row in rows):
        return
    for row in rows:
        settings, count = row["settings"], len(set(row.get("searches") or ()))
        found = [f"{name} {_within(values)}" for name, values in settings["searched"].items()]
        fixed = [f"{name} fixed at {value}" for name, value in settings["fixed"].items() if value is not None]
        searched = f"searched {', '.join(found)}" if found else "nothing searched"
        yield f"{row['rule']}: {searched}{'; not searched: ' if fixed else ''}{', '.join(fixed)}"
        for name, times in settings["at_end"].items():
            yield f"{row['rule']}: {name} lies near an end of its range in {times} of {count} searches"


def _within(values: list[Any]) -> str:
    """Return where an option was searched: the ends of a range, or all values of a choice."""
    numbers = len(values) == 2 and all(type(each) in (int, float) for each in values)
    return f"{values[0]:.3g} to {values[1]:.3g}" if numbers else f"of {', '.join(map(str, values))}"


def _same(table: Table) -> Iterator[str]:
    """Say which rules coincide, and how far a rule lies from itself."""
    for row in distinct(table)["rows"]:
        others = [other for other in table["rows"] if other.get("coincides") == row["rule"]]
        if others:
            each = ", ".join(f"{one['rule']} {one['accuracy'][0]:.2f}" for one in (row, *others))
            means = "means as they were tuned" if row.get("searches") else "means"
            yield (
                f"{shown(table, row['rule'])}: the same gradients on this network, so they are one row; {means}: {each}"
            )
    found = resolution_of(table)
    if found is not None:
        apart = found.apart
        ends = "" if math.isnan(apart.low) else f" [{apart.low:.2f}, {apart.high:.2f}]"
        coincide = any(row["rule"] == found.again and row.get("coincides") for row in table["rows"])
        same = "the same gradients" if coincide else "the same rule"
        yield (
            f"resolution of this table: {found.points:.2f} points ({found.rule} beside {found.again}, {same} tuned "
            f"twice: on average {apart.mean:.2f}{ends} apart)"
        )


def _runs(table: Table) -> list[str]:
    """Say what is missing, damaged, tied or not comparable."""
    found: list[str] = []
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
