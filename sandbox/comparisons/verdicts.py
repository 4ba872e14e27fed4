"""Verdicts in sentences, for tables, rankings, titles of figures, and pages that quote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.comparisons.contents import distinct, shown
from sandbox.comparisons.resolution import SMALL
from sandbox.statistics import FEW
from sandbox.statistics.verdicts import BY_RANKS

SAME = "not distinguishable"  # how a verdict begins where a rule and the reference are not told apart


def verdicts_of(table: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict of each rule against the baseline; rules that coincide are one."""
    rows = [row for row in distinct(table)["rows"] if row["rule"] != table["baseline"]]
    return {shown(table, row["rule"]): row.get("verdict") or "" for row in rows}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Return what a table or a ranking concludes, one sentence for each task, then one for all tasks together.

    A sentence says on which tasks it holds; none says that a rule is better in general.

    Args:
        found: what `table.json` or `overall.json` holds.

    >>> rows = [{"rule": "bptt", "verdict": "above readout_only"}, {"rule": "readout_only"}]
    >>> sentences({"task": "digits", "baseline": "readout_only", "rows": rows})
    ['on digits: bptt is above readout_only']
    """
    if "tables" not in found:
        return [_sentence(f"on {found['task']}", verdicts_of(found), found["baseline"])]
    each = [line for table in found["tables"].values() for line in sentences(table)]
    tasks = list(found["tasks"].values())
    if len(tasks) < 2:
        return each
    whole = _sentence(f"on these {len(tasks)} tasks together", verdicts_of(found), found["baseline"])
    return [*each, "; ".join([whole, *_exceptions(found)])]


def standing(verdicts: Mapping[str, str], baseline: str) -> str:
    """State which rules are above the baseline, by the verdicts that the table shows.

    >>> standing({"bptt": "above readout_only", "spsa": "below readout_only"}, "readout_only")
    'bptt is above readout_only'
    """
    if not verdicts:
        return f"{baseline} alone"
    if undecided(verdicts):
        few = next(iter(verdicts.values())).partition(":")[0]  # seeds, or searches
        return f"{few} for verdicts against {baseline}"
    above = on_side(verdicts, "above")
    if not above:
        return f"no rule is above {baseline}"
    small = sum(verdicts[rule].endswith(SMALL) for rule in above)
    which = SMALL if small == len(above) else f" ({small} by less than the table's resolution)" if small else ""
    return f"{named(above, verdicts)} {'is' if len(above) == 1 else 'are'} above {baseline}{which}"


def on_side(verdicts: Mapping[str, str], side: str) -> list[str]:
    """Return the rules that are above, or below, the reference, without those whose mean says less than the ranks."""
    return [rule for rule, words in verdicts.items() if words.startswith(side) and BY_RANKS not in words]


def named(found: list[str], verdicts: Mapping[str, str]) -> str:
    """Name a single rule; count several."""
    return found[0] if len(found) == 1 else f"{len(found)} of {len(verdicts)} rules"


def undecided(verdicts: Mapping[str, str]) -> bool:
    """Tell whether there are too few seeds, or searches, for any verdict."""
    return all(words.startswith(FEW) for words in verdicts.values())


def _sentence(where: str, verdicts: Mapping[str, str], baseline: str) -> str:
    """Count and name the rules on each side of the baseline."""
    found = f"{where}: {standing(verdicts, baseline)}"
    if not verdicts or undecided(verdicts):
        return found
    above, below = on_side(verdicts, "above"), on_side(verdicts, "below")
    others = [rule for rule in verdicts if rule not in above + below]
    parts = [f"{found}: {', '.join(above)}" if len(above) > 1 else found]
    parts += [f"below it: {', '.join(below)}"] if below else []
    same = [rule for rule in others if verdicts[rule].startswith(SAME)]
    parts += [f"not distinguishable from it: {', '.join(same)}"] if same else []
    rest = [rule for rule in others if rule not in same]
    return "; ".join([*parts, *([f"no verdict on {', '.join(rest)}"] if rest else [])])


def _exceptions(overall: Mapping[str, Any]) -> list[str]:
    """Name, task by task, the rules that are above the baseline on all tasks together and are not there.

    A rule that coincides with another on a task has its verdict; where nothing can be decided, no rule is named.
    """
    above = on_side({row["rule"]: row["verdict"] or "" for row in overall["rows"]}, "above")
    lines = []
    for name, task in overall["tasks"].items():
        rows = {row["rule"]: row for row in overall["tables"][name]["rows"]}
        there = {rule: rows[row.get("coincides") or rule].get("verdict") or "" for rule, row in rows.items()}
        decided = not undecided(verdicts_of(overall["tables"][name]))
        off = [rule for rule in above if decided and rule not in on_side(there, "above")]
        if off:
            lines.append(f"not above it on {task}: {', '.join(off)}")
    return lines
