"""The rows of a table: what the runs of each rule say, and what may be concluded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sandbox.comparisons.budgets import budgets
from sandbox.comparisons.cells import plain
from sandbox.comparisons.resolution import Resolution, resolution, within
from sandbox.comparisons.settings import blocks, kind_of, searches_of, settings_of
from sandbox.comparisons.variants import Forms, forms, headline, row_of_each, variants_of
from sandbox.measures import answers, measured, score
from sandbox.runs.finished import FinishedRun, in_order, require_pairs
from sandbox.statistics import Verdict, block_means, interval, verdicts

BASELINE = "readout_only"
Coinciding = Mapping[str, str]


def make_rows(runs: Mapping[str, Sequence[FinishedRun]], coincides: Coinciding | None = None) -> list[dict[str, Any]]:
    """Return the rows of a table, one for each rule.

    Intervals and verdicts are over replicates: over the searches of tuning where there are several, over seeds
    otherwise. Accuracies are compared as whole numbers of right answers, where these are known. A rule with variants
    has one row, whose replicates are each of the variant that validation prefers (`sandbox.comparisons.variants`).

    Args:
        runs: of each rule, by its label.
        coincides: the rule with the same gradients, by the rule that is left out of the verdicts for it.

    Raises:
        ValueError: for rules with different seeds.
    """
    every = {label: in_order(found) for label, found in runs.items()}
    require_pairs(every)
    variants = forms(every)
    runs = headline(every).runs
    accuracies = {label: [100 * score(run.result["test"]) for run in found] for label, found in runs.items()}
    searches = {label: searches_of(found) for label, found in runs.items()}
    of = blocks(list(searches.values()))
    comparable = {label for label, found in searches.items() if found is None or of is not None}
    replicates = {label: block_means(accuracies[label], of) for label in comparable}
    coincides = borne_out(rows_that_coincide(every, coincides or {}), replicates)
    others = {label: values for label, values in accuracies.items() if label != BASELINE and label not in coincides}
    verdict = verdicts(accuracies[BASELINE], others, BASELINE, of, answers_of(runs))
    again = again_of(runs, coincides, variants)
    resolved = resolution(accuracies, again, of)
    budget = budgets(runs, of)
    apart = variants_of(every, of)
    return [
        {
            **_measured(label, found, of),
            **_concluded(verdict.get(label), resolved),
            **_spent(found),
            "searches": searches[label],
            "settings": settings_of(found) if label not in variants else together(variants[label]),
            "variants": apart.get(label, []),
            "again": again.get(label),
            "coincides": coincides.get(label),
            "budgets": budget[label],
        }
        for label, found in runs.items()
    ]


def together(variants: Mapping[str, Sequence[FinishedRun]]) -> dict[str, Any]:
    """Return the settings of the variants of a rule, each name followed by that of the variant."""
    each = {variant: settings_of(runs) for variant, runs in variants.items()}
    elsewhere = sum(found.get("elsewhere", 0) for found in each.values())
    by_name = {
        key: {f"{name} ({variant})": value for variant, found in each.items() for name, value in found[key].items()}
        for key in ("searched", "fixed", "at_end")
    }
    return {**by_name, **({"elsewhere": elsewhere} if elsewhere else {})}


def rows_that_coincide(runs: Mapping[str, Sequence[FinishedRun]], coincides: Coinciding) -> dict[str, str]:
    """Return the row that each row coincides with: all variants of one with all variants of the other."""
    rows = row_of_each(runs)
    found: dict[str, set[str | None]] = {}
    for label, row in rows.items():
        other = coincides.get(label)
        found.setdefault(row, set()).add(None if other is None else rows[other])
    alone = {row: next(iter(others)) for row, others in found.items() if len(others) == 1}
    return {row: other for row, other in alone.items() if other is not None}


def borne_out(same: Mapping[str, str], results: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return those of the rules that coincide whose results do not say otherwise.

    A rule may change after the batches that were compared: one with a warm-up, a schedule or a switch. Rules of equal
    gradients end apart by rounding alone, or by what tuning found for each, on either side; where the mean of the
    paired differences is not 0 by Student's t, p < 0.01, they are two rows: one in a hundred equal pairs, by chance.

    Args:
        same: the first rule, by the label of each rule that has the same gradients.
        results: of each rule, one for each replicate; without rules of one search, whose error all seeds share.

    >>> borne_out({"b": "a", "c": "a"}, {"a": [90.0, 91.0, 92.0], "b": [90.1, 91.0, 91.8], "c": [9.0, 10.0, 12.0]})
    {'b': 'a'}
    """
    apart = {
        rule: interval(np.subtract(results[rule], results[first]).tolist(), 0.99)
        for rule, first in same.items()
        if {rule, first} <= results.keys()
    }
    refuted = {rule for rule, found in apart.items() if found.low > 0 or found.high < 0}
    return {rule: first for rule, first in same.items() if rule not in refuted}


def again_of(
    runs: Mapping[str, Sequence[FinishedRun]], coincides: Coinciding, variants: Forms | None = None
) -> dict[str, str]:
    """Return the first row of the same rule, by the label of each row that has it again.

    A rule is there again where it is the same but for its label and what its searches found, or where its gradients are
    the same as another's and both were searched.
    """
    kinds = {label: _kind((variants or {}).get(label, {label: found})) for label, found in runs.items()}
    first: dict[str, str] = {}
    again = {}
    for label, kind in kinds.items():
        if kind is None:
            continue
        if label in coincides:
            if kinds[coincides[label]] is not None:
                again[label] = coincides[label]
        elif first.setdefault(kind, label) != label:
            again[label] = first[kind]
    return again


def _kind(variants: Mapping[str, Sequence[FinishedRun]]) -> str | None:
    """Return the settings of all variants of a rule; None where one was not searched."""
    kinds = [kind_of(found) for found in variants.values()]
    return None if None in kinds else "; ".join(kind for kind in kinds if kind is not None)


def answers_of(runs: Mapping[str, Sequence[FinishedRun]]) -> int | None:
    """Return how many answers each test accuracy is a share of; None where that is not known."""
    return answers([run.result["test"] for found in runs.values() for run in found])


def _measured(label: str, runs: Sequence[FinishedRun], of: Sequence[int] | None) -> dict[str, Any]:
    """Return what was measured: test, validation, training, and the area under the curve."""
    found = [run.result for run in runs]
    accuracy = [100 * score(result["test"]) for result in found]
    areas = [run.area for run in runs if run.area is not None]

    def over(values: Sequence[float]) -> list[float | None]:
        return plain(interval(block_means(values, of)))

    return {
        "rule": label,
        "seeds": len(found),
        "accuracies": accuracy,
        "accuracy": over(accuracy),
        "ties": _mean([result["test"].get("ties", 0.0) for result in found]),
        "validation": over([100 * score(result["validation"]) for result in found]),
        "gap": over([100 * (score(r["train"]) - score(r["test"])) for r in found]),
        "area": over(areas) if len(areas) == len(found) else None,
        "asked": {
            mode: over([100 * r["test"][f"{measured(r['test'])}_{mode}"] for r in found]) for mode in modes(found[0])
        },
    }


def _concluded(verdict: Verdict | None, resolved: Resolution | None) -> dict[str, Any]:
    """Return the difference from the baseline, and what may be said of it."""
    if verdict is None:
        return dict.fromkeys(("over_baseline", "effect", "p", "p_adjusted", "verdict"))
    return {
        "over_baseline": plain(verdict.difference),
        "effect": verdict.effect if math.isfinite(verdict.effect) else None,
        "p": verdict.p,
        "p_adjusted": verdict.adjusted,
        "verdict": within(verdict.words, verdict.difference, resolved),
    }


def _spent(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return what learning cost, how healthy it was, and which code and data made it."""
    found = [run.result for run in runs]
    return {
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
