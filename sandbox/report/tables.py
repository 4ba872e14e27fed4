"""What `table.json`, `overall.json` and `tuning.json` of a finished folder hold, which a report checks first."""

from __future__ import annotations

import math
from typing import Any

from sandbox.measures import ROUNDING
from sandbox.report.shape import COST, both, count, every, having, maybe, measure, named, number, plain, whole, word

INTERVAL = every(maybe(number), 3)
MEAN = both(INTERVAL, lambda value, place: number(value[0], f"{place}[0]"))  # an interval may have no ends
VARIANT = having({"variant": word, "accuracies": every(number, least=1), "accuracy": MEAN, "taken": count})
ROW = having(
    {
        "rule": word,
        "seeds": count,
        "accuracies": every(number, least=1),
        "accuracy": MEAN,
        "validation": MEAN,
        "over_baseline": maybe(INTERVAL),
        "verdict?": maybe(word),
        "effect?": maybe(number),
        "p?": maybe(number),
        "p_adjusted?": maybe(number),
        "area?": maybe(INTERVAL),
        "parameters_trained": number,
        "cost": COST,
        "health": every(word),
        "test_evaluations?": count,
        "revisions?": every(word),
        "ties?": maybe(number),
        "changed?": every(word),
        "searches?": maybe(every(count)),
        "variants?": every(VARIANT),
        "settings?": having(
            {"searched": named(every(plain)), "fixed": named(plain), "at_end": named(count), "elsewhere?": count}
        ),
        "again?": maybe(word),
        "coincides?": maybe(word),
        "budgets?": maybe(named(maybe(INTERVAL))),
    }
)
TABLE = having(
    {
        "task": word,
        "baseline": word,
        "linear": maybe(number),
        "chance?": maybe(number),
        "measure?": measure,
        "rows": every(ROW, least=1),
        "seeds?": every(whole, least=1),
        "answers?": maybe(count),
        "coincides?": named(word),
        "published?": every(word),
        "damaged?": named(word),
        "unfit?": named(word),
        "revisions?": named(count),
        "without_linear?": word,
    }
)
RANKED = having(
    {
        "rule": word,
        "score": MEAN,
        "profile": every(MEAN, least=1),
        "verdict": maybe(word),
        "effect?": maybe(number),
        "verdicts?": named(maybe(word)),
        "again?": maybe(word),
        "coincides?": maybe(word),
        "accuracies": named(MEAN),
    }
)
OVERALL = having(
    {
        "baseline": word,
        "rows": every(RANKED),
        "pairs": count,
        "over?": word,
        "at_chance": every(word),
        "tests_of_chance?": named(word),
        "without_chance?": every(word),
        "not_on_all": every(word),
        "thresholds": every(number, least=1),
        "tasks": named(word),
        "tables": named(TABLE, least=1),
    }
)
TRIAL = having({"options": named(plain), "validation": number, "operations?": count, "forwards?": count})
STUDY = having(
    {
        "search?": count,
        "within?": named(every(plain, least=2)),
        "at_end?": every(word),
        "trials": every(TRIAL, least=1),
        "best": both(TRIAL, having({"trial": count})),
        "best_so_far": every(number, least=1),
    }
)
TUNING = having(
    {
        "budget": having({"trials": count, "seeds": count, "first_seed": count, "searches?": count, "sampler?": word}),
        "tasks?": named(word),
        "measures?": named(measure),
        "unfit?": named(word),
        "studies": named(STUDY, least=1),
    }
)


def table(found: Any, place: str) -> None:
    """Check `table.json`: the rules are different ones, have the same seeds and costs, and the baseline is one."""
    TABLE(found, place)
    rules = [row["rule"] for row in found["rows"]]
    if len(set(rules)) < len(rules) or found["baseline"] not in rules:
        raise ValueError(f"{place}.rows are of {', '.join(rules):.200}: each rule is there once, and the baseline is")
    for key, what in (("accuracies", len), ("cost", list)):
        if len({str(what(row[key])) for row in found["rows"]}) > 1:
            raise ValueError(f"{place}.rows differ in the number or names of their {key}")
    _about_rules(found, rules, place)
    for row in found["rows"]:
        if row.get("searches") is not None and len(row["searches"]) != len(row["accuracies"]):
            raise ValueError(f"{place}.rows lack searches, which are one for each seed: {row['rule']:.60}")
    answers = found.get("answers")
    shares = [x * answers / 100 for row in found["rows"] for x in row["accuracies"]] if answers else []
    if not all(math.isfinite(share) and abs(share - round(share)) < ROUNDING for share in shares):
        raise ValueError(f"{place}.answers is {answers}, and accuracies are not shares of so many answers")


def _about_rules(found: Any, rules: list[str], place: str) -> None:
    """Check that rows say of other rows alone that they are the same: of one that is there, and of none in a circle."""
    for row in found["rows"]:
        for key in ("again", "coincides"):
            if row.get(key) is not None and (row[key] not in rules or row[key] == row["rule"]):
                raise ValueError(f"{place}.rows lack the rule that is {row['rule']:.60} {key}")
    first = {row["rule"] for row in found["rows"] if not row.get("coincides")}
    if found["baseline"] not in first or any(row.get("coincides") not in (*first, None) for row in found["rows"]):
        raise ValueError(f"{place}.rows coincide with one that coincides with another")


def overall(found: Any, place: str) -> None:
    """Check `overall.json`: every rule has every task and every threshold."""
    OVERALL(found, place)
    for name, each in found["tables"].items():
        table(each, f"{place}.tables.{name:.60}")
    if not set(found["tasks"]) <= set(found["tables"]):
        raise ValueError(f"{place}.tasks has tasks without a table")
    rules = [row["rule"] for row in found["rows"]]
    if found["rows"] and found["baseline"] not in rules:
        raise ValueError(f"{place}.rows lack the baseline")
    if bool(found["rows"]) != bool(found["tasks"]):
        raise ValueError(f"{place}.rows are of no task, or tasks have no rows")
    if rules:
        _about_rules(found, rules, place)
    for row in found["rows"]:
        if len(row["profile"]) != len(found["thresholds"]) or not set(found["tasks"]) <= set(row["accuracies"]):
            raise ValueError(f"{place}.rows lack thresholds or tasks: {row['rule']:.60}")


def tuning(found: Any, place: str) -> None:
    """Check `tuning.json`: every trial has a best validation so far, and all searches spent the budget."""
    TUNING(found, place)
    trials = found["budget"]["trials"]
    for name, study in found["studies"].items():
        if not len(study["trials"]) == len(study["best_so_far"]) == trials:
            raise ValueError(f"{place}.studies.{name:.60} has not the {trials} trials of the budget")
        if not set(study.get("at_end", [])) <= set(study.get("within", {})) & set(study["best"]["options"]):
            raise ValueError(f"{place}.studies.{name:.60}.at_end has options that were not searched")
        if "search" in study and name.rpartition("/")[2] != str(study["search"]):
            raise ValueError(f"{place}.studies.{name:.60} is not named after its search, {study['search']}")
