"""Figures of a comparison: the ranking of the rules, and every pair of them."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

from sandbox.comparisons.cells import as_interval
from sandbox.comparisons.contents import blocks_of, noun, values_of
from sandbox.comparisons.verdicts import undecided
from sandbox.report.figures import Dots, Figure, Matrix, linear_model
from sandbox.report.wording import column, height
from sandbox.statistics import Verdict, every_pair

Pairs = dict[tuple[str, str], Verdict]


def figures(table: dict[str, Any]) -> list[Figure]:
    """Build the ranking, and the matrix of pairs where there is more than one rule."""
    pairs = every_pair(accuracies(table), blocks_of(table), table.get("answers")) if len(table["rows"]) > 1 else {}
    return [_ranking(table), _matrix(table, pairs)] if pairs else [_ranking(table)]


def accuracies(table: dict[str, Any]) -> dict[str, list[float]]:
    """Return the accuracies of all seeds [%] by rule, the highest mean first."""
    return values_of({"rows": _ranked(table)})


def _ranked(table: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(table["rows"], key=height, reverse=True)


def _ranking(table: dict[str, Any]) -> Figure:
    means = {row["rule"]: as_interval(row["accuracy"]) for row in _ranked(table)}
    listed = "; ".join(f"{rule} {mean}" for rule, mean in means.items())
    return Figure(
        "ranking",
        ranking_message(table),
        f"Test {noun(table)} in percent, the highest mean first. {listed}.",
        [
            {"rank": rank, "rule": rule, column(table): mean, "low": low, "high": high}
            for rank, (rule, (mean, low, high)) in enumerate(means.items(), 1)
        ],
        Dots(
            f"test {noun(table)} [%]",
            means,
            accuracies(table),
            "bar: 95 % interval of the mean; faint: every seed",
            linear_model(table),
            places={row["rule"]: place for place, row in enumerate(table["rows"])},
        ),
    )


def ranking_message(table: dict[str, Any]) -> str:
    """Name the rules with the two highest means; whether they differ is left to the matrix of pairs."""
    first, *rest = _ranked(table)
    if not rest:
        return f"{table['task']}: {first['rule']} alone"
    return f"{table['task']}: {first['rule']} has the highest mean, followed by {rest[0]['rule']}"


def _matrix(table: dict[str, Any], pairs: Pairs) -> Figure:
    rules = list(accuracies(table))
    once = (f"{a}: {pairs[a, b].difference}, {pairs[a, b].words}" for a, b in combinations(rules, 2))
    content = Matrix(
        rules,
        rules,
        [[pairs[a, b].difference.mean if a != b else math.nan for b in rules] for a in rules],
        [[_cell(pairs[a, b]) if a != b else "" for b in rules] for a in rules],
        [[_hover(a, b, pairs[a, b]) if a != b else (a,) for b in rules] for a in rules],
    )
    return Figure(
        "pairs",
        matrix_message(table["task"], pairs),
        f"Mean paired difference of test {noun(table)} in points, row minus column. {'; '.join(once)}.",
        [_row(a, b, verdict) for (a, b), verdict in pairs.items()],
        content,
    )


def matrix_message(task: str, pairs: Pairs) -> str:
    """Count the pairs of rules that are distinguishable."""
    if undecided({f"{a} {b}": verdict.words for (a, b), verdict in pairs.items()}):
        return f"{task}: too few seeds to distinguish any of {len(pairs) // 2} pairs of rules"
    apart = sum(_distinguished(verdict) for verdict in pairs.values()) // 2
    return f"{task}: {apart} of {len(pairs) // 2} pairs of rules are distinguishable"


def _distinguished(verdict: Verdict) -> bool:
    return verdict.words.startswith(("above", "below"))


def _cell(verdict: Verdict) -> str:
    """Write a difference, with a star where the pair is distinguishable."""
    mean = verdict.difference.mean
    return "–" if math.isnan(mean) else f"{mean:+.1f}{'*' if _distinguished(verdict) else ''}".replace("-", "−")


def _hover(a: str, b: str, verdict: Verdict) -> tuple[str, ...]:
    tested = f"two-sided p = {verdict.p:.3g}, by Holm {verdict.adjusted:.3g}"
    return (f"{a} − {b}", f"{verdict.difference} points", verdict.words, tested)


def _row(a: str, b: str, verdict: Verdict) -> dict[str, Any]:
    (mean, low, high), effect, p, adjusted, words = verdict
    difference = {"rule": a, "beside": b, "difference_points": mean, "low": low, "high": high}
    return {**difference, "effect": effect, "p": p, "p_adjusted": adjusted, "verdict": words}
