"""Figures of a grid: the ranking of the rules over all tasks, and their performance profiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sandbox.comparisons.cells import as_interval
from sandbox.comparisons.contents import distinct
from sandbox.comparisons.verdicts import standing, verdicts_of
from sandbox.report.figures import Choice, Curve, Curves, Dots, Figure, Line

SCORE = "score [% from chance to a task's best rule]"


def figures(overall: dict[str, Any]) -> list[Figure]:
    """Build the figure of the scores with their intervals, and that of the profiles; none where no rule is ranked."""
    return [_ranking(distinct(overall)), _profile(distinct(overall))] if overall["rows"] else []


def _ranking(overall: dict[str, Any]) -> Figure:
    scores = {row["rule"]: as_interval(row["score"]) for row in overall["rows"]}
    ends = [(row["rule"], row["score"]) for row in overall["rows"]]  # None where there is no interval
    baseline, title = overall["baseline"], ranking_message(overall)
    listed = "; ".join(f"{rule} {score}" for rule, score in scores.items())
    note = "bar: 95 % interval of the interquartile mean"
    printed = Dots(SCORE, scores, dict.fromkeys(scores, ()), note, Line(scores[baseline].mean, baseline))
    return Figure(
        "ranking",
        title,
        f"Interquartile mean scores, best first: {listed}.",
        [
            {"rank": rank, "rule": rule, "score_percent": mean, "low": low, "high": high}
            for rank, (rule, (mean, low, high)) in enumerate(ends, 1)
        ],
        printed,
        choices=(Choice("", title, replace(printed, x="score [%]", line=None)),),
    )


def ranking_message(overall: dict[str, Any]) -> str:
    """Name the rule of the highest score, and count those above the baseline."""
    tasks = len(overall["tasks"])
    where = f"these {tasks} tasks" if tasks > 1 else "this task"
    first = f"{overall['rows'][0]['rule']} has the highest score on {where}"
    return f"{first}; {standing(verdicts_of(overall), overall['baseline'])}"


def _profile(overall: dict[str, Any]) -> Figure:
    thresholds = overall["thresholds"]
    curves = {row["rule"]: Curve(thresholds, [[100 * share[0] for share in row["profile"]]]) for row in overall["rows"]}
    note, message = "in order of rank", profile_message(overall)
    return Figure(
        "profile",
        message,
        f"Share of runs above each score. {message}.",
        [
            {"rule": row["rule"], "score_percent": threshold, **_percent(share)}
            for row in overall["rows"]
            for threshold, share in zip(thresholds, row["profile"], strict=True)
        ],
        Curves(SCORE, "runs above this score [%]", curves, note=note, every=4, limits=(-2, 102)),
    )


def profile_message(overall: dict[str, Any]) -> str:
    """Give the share of runs above the score at which the first rule and the baseline differ most."""
    first, baseline = overall["rows"][0]["rule"], overall["baseline"]
    shares = {row["rule"]: [100 * share[0] for share in row["profile"]] for row in overall["rows"]}
    if baseline == first or baseline not in shares:
        return f"shares of runs above each score, {first} first"
    gaps = [one - other for one, other in zip(shares[first], shares[baseline], strict=True)]
    place = gaps.index(max(gaps))
    score, best, other = overall["thresholds"][place], shares[first][place], shares[baseline][place]
    return f"{first} scores above {score} in {best:.0f} % of its runs, {baseline} in {other:.0f} %"


def _percent(share: list[float | None]) -> dict[str, float | None]:
    names = ("runs_above_percent", "low", "high")
    return {name: None if part is None else 100 * part for name, part in zip(names, share, strict=True)}
