"""One ranking over several tasks: interquartile means of normalised scores, a performance profile, and verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from sandbox.comparisons.cells import as_interval, columns, decided, plain
from sandbox.comparisons.chance import above_chance
from sandbox.comparisons.contents import blocks_of, distinct, noun, resolution_of, shown
from sandbox.comparisons.notes import cautions
from sandbox.comparisons.resolution import Resolution, resolution, within
from sandbox.comparisons.verdicts import sentences
from sandbox.machine.text import line
from sandbox.statistics import block_means, bootstrap, interquartile_mean, profile, verdicts

THRESHOLDS = tuple(range(0, 101, 5))  # of the profile, in percent


def make_overall(tables: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Rank the rules that every task has.

        score = 100 (accuracy - chance) / (best - chance),    best: the highest mean of any rule on the task

    so that no task is trimmed away for being hard; one where no rule is above chance (`above_chance`) is left out, and
    without any other there are no rows. R2 and F1 are in place of accuracy on tasks that are judged by them, with 0 as
    chance. Ranked by the interquartile mean over all tasks and replicates, which are seeds, or searches where there are
    several. The bootstrap resamples replicates within each task; chance and best are taken as known. Verdicts pair the
    scores of replicates with the baseline's, within each task, so they are about these tasks and no others; the verdict
    of each task alone is beside them.

    References: Agarwal et al. 2021 (arXiv 2108.13264), for interquartile means and profiles; the scale is ours.
    """
    in_order = dict(
        sorted(tables.items())
    )  # as in the file, so that the draws of the bootstrap are the same from there
    known = {name: table for name, table in in_order.items() if table["chance"] is not None}
    chances = {name: above_chance(table) for name, table in known.items()}
    above = {name: table for name, table in known.items() if chances[name][0] and _best(table) > table["chance"]}
    rules = list(dict.fromkeys(row["rule"] for table in above.values() for row in table["rows"]))
    ranked = [rule for rule in rules if all(_has(table, rule) for table in above.values())]
    baseline = next(iter(tables.values()))["baseline"]
    rows = _rows(above, ranked, baseline) if above else []
    return {
        "baseline": baseline,
        "rows": sorted(rows, key=lambda row: -row["score"][0]),
        "pairs": sum(len(block_means(_seeds(table), blocks_of(table))) for table in above.values()),
        "over": "seeds" if _blocks(above) is None else "searches",
        "at_chance": [table["task"] for name, table in known.items() if name not in above],
        "tests_of_chance": {table["task"]: chances[name][1] for name, table in known.items()},
        "without_chance": [table["task"] for name, table in in_order.items() if name not in known],
        "not_on_all": [rule for rule in rules if rule not in ranked],
        "thresholds": list(THRESHOLDS),
        "tasks": {name: table["task"] for name, table in tables.items() if name in above},
        "tables": dict(tables),
    }


def _rows(tables: Mapping[str, dict[str, Any]], ranked: Sequence[str], baseline: str) -> list[dict[str, Any]]:
    """Return the row of each rule that every task has."""
    scores = {rule: {name: _scores(table, rule) for name, table in tables.items()} for rule in ranked}
    pooled = _pooled(tables, ranked)
    of, each_of = _blocks(tables), [blocks_of(table) for table in tables.values()]
    coincides, again = ({rule: _everywhere(tables, rule, key) for rule in ranked} for key in ("coincides", "again"))
    others = {rule: found for rule, found in pooled.items() if rule != baseline and coincides[rule] is None}
    verdict = verdicts(pooled[baseline], others, baseline, of)
    resolved = _resolution(tables, ranked)
    rows = []
    for rule in ranked:
        strata = [block_means(found, blocks) for found, blocks in zip(scores[rule].values(), each_of, strict=True)]
        seeds = list(scores[rule].values())
        rows.append(
            {
                "rule": rule,
                "score": plain(bootstrap(*strata, statistic=interquartile_mean)),
                "profile": [plain(share) for share in profile(seeds, THRESHOLDS, of=each_of)],
                **_concluded(verdict.get(rule), resolved),
                "verdicts": {name: _row(table, rule).get("verdict") for name, table in tables.items()},
                "coincides": coincides[rule],
                "again": again[rule],
                "accuracies": {name: _row(table, rule)["accuracy"] for name, table in tables.items()},
                "area": {name: _row(table, rule)["area"] for name, table in tables.items()},
            }
        )
    return rows


def _pooled(tables: Mapping[str, dict[str, Any]], rules: Sequence[str]) -> dict[str, list[float]]:
    """Return the scores of rules on all tasks, one task after the other."""
    return {rule: [score for table in tables.values() for score in _scores(table, rule)] for rule in rules}


def _resolution(tables: Mapping[str, dict[str, Any]], rules: Sequence[str]) -> Resolution | None:
    """Return the resolution of the scores; None where no rule is on every task twice."""
    twice = {rule: _everywhere(tables, rule, "again") for rule in rules}
    again = {rule: first for rule, first in twice.items() if first is not None and first in rules}
    return resolution(_pooled(tables, rules), again, _blocks(tables))


def _concluded(found: Any, resolved: Resolution | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(("verdict", "p_adjusted", "effect"))
    return {
        "verdict": within(found.words, found.difference, resolved),
        "p_adjusted": found.adjusted,
        "effect": found.effect if np.isfinite(found.effect) else None,
    }


def _everywhere(tables: Mapping[str, dict[str, Any]], rule: str, key: str) -> str | None:
    """Return what the rows of a rule say on all tasks; None where they do not agree."""
    found: list[str | None] = [_row(table, rule).get(key) for table in tables.values()]
    return found[0] if len(set(found)) == 1 else None


def _blocks(tables: Mapping[str, dict[str, Any]]) -> list[Hashable] | None:
    """Return the replicate of each score, task by task; None where seeds are the replicates on every task."""
    found = {name: blocks_of(table) for name, table in tables.items()}
    if all(of is None for of in found.values()):
        return None
    return [
        (name, block)
        for name, of in found.items()
        for block in (of if of is not None else range(len(_seeds(tables[name]))))
    ]


def format_overall(overall: dict[str, Any]) -> str:
    """Return the ranking as text, what it concludes, then the notes of every task."""
    text = [_ranking(overall)] if overall["rows"] else []
    if overall["not_on_all"]:
        text.append(line(f"not ranked, since not on every task: {', '.join(overall['not_on_all'])}"))
    text += map(line, left_out(overall))
    text += map(line, partly_the_same(overall))
    if overall["rows"]:
        text += map(line, sentences(overall))
    for name, task in overall["tasks"].items():
        text += [line(f"{task}: {note}") for note in cautions(overall["tables"][name])]
    return "\n".join(text)


def partly_the_same(overall: Mapping[str, Any]) -> list[str]:
    """Say which rows have the gradients of another on some of the tasks and not on all, where they are one row."""
    tables, found = list(_ranked_in(overall).values()), []
    whole = {row["rule"] for row in overall["rows"] if row.get("coincides")}  # on every task
    for rule in (rule for rule in _rules_of(overall) if rule not in whole):
        firsts = Counter(first for table in tables if (first := _row(table, rule).get("coincides")) is not None)
        found += [
            f"{rule} has the gradients of {first} on {times} of {len(tables)} tasks: not two findings there"
            for first, times in firsts.items()
        ]
    return found


def left_out(overall: Mapping[str, Any]) -> list[str]:
    """Say which tasks are not in the ranking, and why."""
    tests, found = overall.get("tests_of_chance", {}), []
    for task in overall["at_chance"]:
        test = f" ({tests[task]})" if task in tests else ""
        found.append(f"left out of the ranking, since no rule is above chance: {task}{test}")
    unknown = overall.get("without_chance", ())
    found += [f"left out of the ranking, since chance is not known: {task}" for task in unknown]
    return found if overall["rows"] else ["no rule is above chance on any task, so there is no ranking", *found]


def _ranking(overall: dict[str, Any]) -> str:
    names = list(overall["tasks"])
    head = ("rank", "rule", "score [95 %]", "verdict", "d_z", *(f"{overall['tasks'][name]} %" for name in names))
    lines: list[Sequence[str]] = [head]
    for rank, row in enumerate(distinct(overall)["rows"], 1):
        effect = "-" if row["effect"] is None else f"{row['effect']:.2f}"
        accuracies = (str(as_interval(row["accuracies"][name])).partition(" (")[0] for name in names)
        verdict = decided(row["verdict"])
        rule = shown(overall, row["rule"])
        lines.append((str(rank), rule, str(as_interval(row["score"])), verdict, effect, *accuracies))
    return "\n".join([columns(lines), *map(line, scale_of_scores(overall))])


def scale_of_scores(overall: Mapping[str, Any]) -> list[str]:
    """Say what the scores are."""
    tables = [(task, overall["tables"][name]) for name, task in overall["tasks"].items()]
    others = [f"{noun(table)} on {task}" for task, table in tables if noun(table) != "accuracy"]
    zero = f"; chance is 0 for {' and '.join(others)}" if others else ""
    whole = _resolution(_ranked_in(overall), _rules_of(overall))
    each = {"of the scores": whole, **{f"on {task}": resolution_of(table) for task, table in tables}}
    resolved = [f"resolution {what}: {found.points:.2f} points" for what, found in each.items() if found is not None]
    tasks = f"{len(tables)} tasks" if len(tables) > 1 else "1 task"
    return [
        "score: percent of the way from chance to the best rule of each task (100: its mean; single seeds may score "
        f"more), interquartile mean over {tasks} and their {overall.get('over', 'seeds')}, {overall['pairs']} in all; "
        f"chance and the best mean are taken as known, and all scores move with them{zero}; verdicts "
        "and resolution are of means of differences",
        *resolved,
    ]


def _scores(table: dict[str, Any], rule: str) -> list[float]:
    span = _best(table) - table["chance"]
    return [100 * (accuracy - table["chance"]) / span for accuracy in _row(table, rule)["accuracies"]]


def _best(table: dict[str, Any]) -> float:
    return max(float(row["accuracy"][0]) for row in distinct(table)["rows"])


def _seeds(table: dict[str, Any]) -> list[float]:
    found: list[float] = table["rows"][0]["accuracies"]
    return found


def _has(table: dict[str, Any], rule: str) -> bool:
    return any(row["rule"] == rule for row in table["rows"])


def _ranked_in(overall: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tables of the tasks that a ranking is over."""
    return {name: overall["tables"][name] for name in overall["tasks"]}


def _rules_of(overall: Mapping[str, Any]) -> list[str]:
    """Return the rules of a ranking that its tables have: all, but in a file that was edited."""
    tables = _ranked_in(overall).values()
    return [row["rule"] for row in overall["rows"] if all(_has(table, row["rule"]) for table in tables)]


def _row(table: dict[str, Any], rule: str) -> dict[str, Any]:
    row: dict[str, Any] = next(row for row in table["rows"] if row["rule"] == rule)
    return row
