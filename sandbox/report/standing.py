"""The rules of a comparison in their order, and each beside every other: figures, numbers, and words for both."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np

from sandbox.comparisons.table import as_interval
from sandbox.report import interactive, theme, wording
from sandbox.report.canvas import Drawing, Plot, axes_for, draw_legend, draw_mean, lines, look, plain, png
from sandbox.statistics import Interval, Verdict, every_pair

Pairs = dict[tuple[str, str], Verdict]


def drawings(table: dict[str, Any]) -> tuple[Drawing, ...]:
    """The ranking, and the matrix where there is more than one rule."""
    pairs = every_pair(accuracies(table)) if len(table["rows"]) > 1 else {}
    return (_ranking(table), _matrix(table, pairs)) if pairs else (_ranking(table),)


def accuracies(table: dict[str, Any]) -> dict[str, list[float]]:
    """Every seed of every rule [%], the rules in their order, the highest mean first."""
    ranked = sorted(table["rows"], key=wording.height, reverse=True)
    return {row["rule"]: [math.nan if x is None else x for x in row["accuracies"]] for row in ranked}


def _ranking(table: dict[str, Any]) -> Drawing:
    seeds = accuracies(table)
    middles = {row["rule"]: as_interval(row["accuracy"]) for row in table["rows"]}
    found = {rule: middles[rule] for rule in seeds}
    numbers = {row["rule"]: number for number, row in enumerate(table["rows"])}
    message, linear = wording.ranking_message(table), table["linear"]
    return Drawing(
        "ranking",
        ranked(
            found,
            seeds,
            numbers,
            (linear, f"linear classifier, test {linear:.2f} %"),
            ("test accuracy [%]", "bar: 95 % interval of the mean; faint: every seed"),
            message,
        ),
        lines(
            {"rank": rank, "rule": rule, **dict(zip(("test_accuracy_percent", "low", "high"), middle, strict=True))}
            for rank, (rule, middle) in enumerate(found.items(), 1)
        ),
        wording.ranking_alt(table),
        Plot(message, interactive.dots(found, seeds, "test accuracy [%]", linear, numbers)),
    )


def ranked(
    found: dict[str, Interval],
    seeds: dict[str, list[float]],
    numbers: dict[str, int],
    line: tuple[float, str],
    said: tuple[str, str],
    title: str,
) -> bytes:
    """Means with their intervals, the highest first, beside a line; `said` names the axis and the marks; a PNG."""
    figure, axes = axes_for(title, said[0], "")
    for place, (rule, middle) in enumerate(found.items()):
        if len(seeds[rule]) > 1:
            axes.plot(
                seeds[rule],
                [place + 0.2] * len(seeds[rule]),
                "o",
                color=look(numbers[rule])["color"],
                alpha=0.45,
                markersize=5,
                markeredgewidth=0,
            )
        draw_mean(axes, numbers[rule], place, middle, across=True)
    beside = axes.axvline(line[0], color="0.25", linestyle=":", linewidth=1.8, label=line[1])
    axes.set_yticks(range(len(found)), [plain(rule) for rule in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    draw_legend(figure, [beside], [], said[1])
    return png(figure)


def _matrix(table: dict[str, Any], pairs: Pairs) -> Drawing:
    rules = list(accuracies(table))
    message = matrix_message(table["task"], pairs)
    values = [[pairs[a, b].difference.mean if a != b else math.nan for b in rules] for a in rules]
    text = [[cell(pairs[a, b]) if a != b else "" for b in rules] for a in rules]
    told = [[_told(a, b, pairs[a, b]) if a != b else theme.name(a) for b in rules] for a in rules]
    return Drawing(
        "pairs",
        _printed(values, text, rules, message),
        lines(_numbers(a, b, verdict) for (a, b), verdict in pairs.items()),
        f"Mean paired difference of test accuracy in points, row minus column. {_spoken(pairs)}",
        Plot(message, interactive.matrix(values, told, text, rules, rules)),
    )


def matrix_message(task: str, pairs: Pairs) -> str:
    """How many pairs can be told apart."""
    if all(verdict.words.startswith("too few seeds") for verdict in pairs.values()):
        return f"{task}: too few seeds to tell any of {len(pairs) // 2} pairs of rules apart"
    apart = sum(told_apart(verdict) for verdict in pairs.values()) // 2
    return f"{task}: {apart} of {len(pairs) // 2} pairs of rules can be told apart"


def told_apart(verdict: Verdict) -> bool:
    """Whether the words say so."""
    return verdict.words.startswith(("above", "below"))


def cell(verdict: Verdict) -> str:
    """A difference, with a star where the pair is told apart."""
    mean = verdict.difference.mean
    return "–" if math.isnan(mean) else f"{mean:+.1f}{'*' if told_apart(verdict) else ''}".replace("-", "−")


def _told(a: str, b: str, verdict: Verdict) -> str:
    lines = (
        f"{theme.name(a)} − {theme.name(b)}",
        f"{verdict.difference} points",
        theme.name(verdict.words),
        f"p = {verdict.p:.3g}, by Holm {verdict.adjusted:.3g}",
    )
    return "<br>".join(lines)


def _spoken(pairs: Pairs) -> str:
    """Each pair once, in the order of the rules."""
    rules = list(dict.fromkeys(a for a, _ in pairs))
    told = (f"{a}: {pairs[a, b].difference}, {pairs[a, b].words}" for a, b in combinations(rules, 2))
    return f"{'; '.join(told)}."


def _numbers(a: str, b: str, verdict: Verdict) -> dict[str, Any]:
    mean, low, high = verdict.difference
    return {
        "rule": a,
        "beside": b,
        "difference_points": mean,
        "low": low,
        "high": high,
        "effect": verdict.effect,
        "p": verdict.p,
        "p_adjusted": verdict.adjusted,
        "verdict": verdict.words,
    }


def _printed(values: list[list[float]], text: list[list[str]], rules: list[str], title: str) -> bytes:
    figure, axes = axes_for(title, "", "")
    axes.grid(visible=False)
    size = 9 if len(rules) <= 8 else 5.5
    reach = max((abs(x) for row in values for x in row if math.isfinite(x)), default=1.0) or 1.0
    axes.imshow(np.array(values), cmap="PuOr", vmin=-2 * reach, vmax=2 * reach, aspect="auto")
    axes.set_xticks(
        range(len(rules)),
        [plain(rule) for rule in rules],
        fontsize=size,
        rotation=90 if len(rules) > 8 else 20 if len(rules) > 3 else 0,
    )
    axes.set_yticks(range(len(rules)), [plain(rule) for rule in rules], fontsize=size)
    for row, told in enumerate(text):
        for column, words in enumerate(told):
            axes.text(column, row, words, ha="center", va="center", fontsize=size)
    return png(figure)
