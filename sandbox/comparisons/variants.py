"""Rules in several variants, such as optimizers: one row of the table, from the variant that validation prefers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from sandbox.comparisons.cells import plain
from sandbox.comparisons.settings import rule_of, searches_of
from sandbox.config.rule import RuleConfig
from sandbox.measures import score
from sandbox.runs.finished import FinishedRun, in_order
from sandbox.statistics import block_means, interval

Runs = Mapping[str, Sequence[FinishedRun]]  # by label
Forms = dict[str, dict[str, list[FinishedRun]]]  # runs by row and by the name of the variant


class Headline(NamedTuple):
    """The runs of each row, and the variant of which each seed's run is, for rows that have variants."""

    runs: dict[str, list[FinishedRun]]
    taken: dict[str, list[str]]


def forms(runs: Runs) -> Forms:
    """Return the runs of each row that has variants, by the names of these."""
    found: Forms = {}
    for label, row in row_of_each(runs).items():
        if row != label:
            found.setdefault(row, {})[str(rule_of(runs[label][0])["variant"])] = in_order(runs[label])
    return found


def require_variants(rows: Mapping[str, Sequence[RuleConfig]], labels: Container[str]) -> None:
    """Raise ValueError for rules that cannot be variants of one row.

    Args:
        rows: the rules of each row.
        labels: those of all runs.
    """
    for row, found in rows.items():
        names = [rule.variant for rule in found]
        if set(names) == {None}:
            continue
        if None in names or len(set(names)) < len(names) or len({rule.name for rule in found}) > 1:
            listed = ", ".join(f"{rule.name} ({rule.variant or 'without a variant'})" for rule in found)
            raise ValueError(
                f"the row {row!r} has {listed}: its variants are of one rule, each with a name of its own; give the "
                "others a label"
            )
        if any(f"{row} {name}#2" in labels for name in names):
            raise ValueError(f"a label is that of a variant of {row!r}; give the rule another label")


def row_of_each(runs: Runs) -> dict[str, str]:
    """Return the row of each label."""
    variants = {label: rule_of(found[0]).get("variant") for label, found in runs.items()}
    return {label: row_of(label, each) for label, each in variants.items()}


def row_of(label: str, variant: str | None) -> str:
    """Return the label of the row in which a variant is shown, or the label itself for a rule without variants.

    >>> row_of("hzo adam", "adam")
    'hzo'
    """
    return label if variant is None else label.removesuffix(f" {variant}")


def headline(runs: Runs) -> Headline:
    """Return the runs that the rows of a table show: those of the best variant, where a rule has several.

    In each replicate, which is a search of tuning with its seeds, or a seed where nothing was searched, the variant
    with the highest mean validation is taken, of equal ones the first. The test set has no say. The choice is part of
    the procedure, so that its error is in the intervals.
    """
    variants = forms(runs)
    taken = {row: _preferred(found) for row, found in variants.items()}
    rows = {
        row: [variants[row][name][n]._replace(rule=row) for n, name in enumerate(taken[row])]
        if row in variants
        else list(runs[row])
        for row in dict.fromkeys(row_of_each(runs).values())
    }
    return Headline(rows, taken)


def _preferred(variants: Mapping[str, Sequence[FinishedRun]]) -> list[str]:
    """Return the variant that is taken for each seed."""
    first = next(iter(variants.values()))
    of: Sequence[Hashable] = searches_of(first) or [run.seed for run in first]
    heights = {name: _validation(each, of) for name, each in variants.items()}
    return [max(heights, key=lambda name: _comparable(heights[name][block])) for block in of]


def _comparable(height: float) -> float:
    """Return a validation that can be compared: a variant without one is never taken where another has one."""
    return -math.inf if math.isnan(height) else height


def _validation(runs: Sequence[FinishedRun], of: Sequence[Hashable]) -> dict[Hashable, float]:
    """Return the mean validation of each replicate."""
    means = block_means([score(run.result["validation"]) for run in runs], of)
    return dict(zip(dict.fromkeys(of), means, strict=True))


def variants_of(runs: Runs, of: Sequence[Hashable] | None) -> dict[str, list[dict[str, Any]]]:
    """Return what a table says of each variant, by row: test accuracy [%], and in how many seeds it was taken.

    Args:
        runs: of each label, variants apart.
        of: the search of each seed; by default each seed is a replicate.
    """
    taken = headline(runs).taken
    return {
        row: [
            {
                "variant": name,
                "accuracies": (accuracies := [100 * score(run.result["test"]) for run in each]),
                "accuracy": plain(interval(block_means(accuracies, of))),
                "taken": Counter(taken[row])[name],
            }
            for name, each in variants.items()
        ]
        for row, variants in forms(runs).items()
    }
