"""One ranking over several tasks: interquartile means of normalised scores, a performance profile, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sandbox.comparisons.cells import as_interval, columns, decided, plain
from sandbox.comparisons.notes import notes
from sandbox.machine.text import line
from sandbox.statistics import bootstrap, interquartile_mean, profile, verdicts

THRESHOLDS = tuple(range(0, 101, 5))  # of the profile, in percent


def make_overall(tables: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Rank the rules that every task has.

        score = 100 (accuracy - chance) / (best - chance),    best: the highest mean of any rule on the task

    so that no task is trimmed away for being hard; one where no rule is above chance is left out. Ranked by the
    interquartile mean over all tasks and seeds, with stratified bootstrap intervals, in which chance and best are taken
    as known. Verdicts pair the scores with the baseline's, by task and seed.

    References: Agarwal et al. 2021 (arXiv 2108.13264), for interquartile means and profiles; the scale is ours.
    """
    above = {name: table for name, table in tables.items() if _best(table) > table["chance"]}
    if not above:
        raise ValueError("no rule is above chance on any task, so there is nothing to rank: train longer")
    whole = {name: _scores(table) for name, table in above.items()}
    baseline = next(iter(tables.values()))["baseline"]
    rules = dict.fromkeys(rule for scores in whole.values() for rule in scores)
    ranked = [rule for rule in rules if all(rule in scores for scores in whole.values())]
    strata = {rule: [scores[rule] for scores in whole.values()] for rule in ranked}
    pooled = {rule: [value for scores in found for value in scores] for rule, found in strata.items()}
    others = {rule: values for rule, values in pooled.items() if rule != baseline}
    verdict = verdicts(pooled[baseline], others, baseline)
    rows: list[dict[str, Any]] = []
    for rule in ranked:
        found = verdict.get(rule)
        rows.append(
            {
                "rule": rule,
                "score": plain(bootstrap(*strata[rule], statistic=interquartile_mean)),
                "profile": [plain(share) for share in profile(strata[rule], THRESHOLDS)],
                "verdict": None if found is None else found.words,
                "p_adjusted": None if found is None else found.adjusted,
                "effect": None if found is None or not np.isfinite(found.effect) else found.effect,
                "accuracies": {name: _row(table, rule)["accuracy"] for name, table in above.items()},
                "area": {name: _row(table, rule)["area"] for name, table in above.items()},
            }
        )
    rows.sort(key=lambda row: -row["score"][0])
    return {
        "baseline": baseline,
        "rows": rows,
        "pairs": len(pooled[baseline]),
        "at_chance": [tables[name]["task"] for name in tables if name not in above],
        "not_on_all": [rule for rule in rules if rule not in ranked],
        "thresholds": list(THRESHOLDS),
        "tasks": {name: table["task"] for name, table in above.items()},
        "tables": dict(tables),
    }


def format_overall(overall: dict[str, Any]) -> str:
    """Return the ranking as text, then the notes of every task."""
    names = list(overall["tasks"])
    head = ("rank", "rule", "score [95 %]", "verdict", "d_z", *(f"{overall['tasks'][name]} %" for name in names))
    lines: list[Sequence[str]] = [head]
    for rank, row in enumerate(overall["rows"], 1):
        effect = "-" if row["effect"] is None else f"{row['effect']:.2f}"
        accuracies = (str(as_interval(row["accuracies"][name])).partition(" (")[0] for name in names)
        verdict = decided(row["verdict"])
        lines.append((str(rank), row["rule"], str(as_interval(row["score"])), verdict, effect, *accuracies))
    text = [
        columns(lines),
        "score: percent of the way from chance to the best rule of each task (100: its mean; single seeds may score "
        f"more), interquartile mean over {len(names)} tasks and their seeds, {overall['pairs']} in all",
    ]
    if overall["not_on_all"]:
        text.append(line(f"not ranked, since not on every task: {', '.join(overall['not_on_all'])}"))
    if overall["at_chance"]:
        text.append(line(f"left out of the ranking, since no rule is above chance: {', '.join(overall['at_chance'])}"))
    for name in names:
        text += [line(f"{overall['tasks'][name]}: {note}") for note in notes(overall["tables"][name])]
    return "\n".join(text)


def _scores(table: dict[str, Any]) -> dict[str, list[float]]:
    span = _best(table) - table["chance"]
    return {row["rule"]: [100 * (a - table["chance"]) / span for a in row["accuracies"]] for row in table["rows"]}


def _best(table: dict[str, Any]) -> float:
    return max(float(row["accuracy"][0]) for row in table["rows"])


def _row(table: dict[str, Any], rule: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in table["rows"] if row["rule"] == rule)
    return row
