"""The rules of a grid in their order over all tasks, and how many of their runs score above what."""

from __future__ import annotations

from typing import Any

from sandbox.comparisons.table import as_interval
from sandbox.report import interactive, standing
from sandbox.report.canvas import Curve, Drawing, Plot, axes_for, draw_legend, lines, look, png

AXES = ("score [% from chance to a task's best rule]", "runs above it [%]")
MARKS = "bar: 95 % interval of the interquartile mean"


def drawings(overall: dict[str, Any]) -> tuple[Drawing, ...]:
    """The scores with their intervals, and the profile."""
    scores = {row["rule"]: as_interval(row["score"]) for row in overall["rows"]}
    numbers = {rule: number for number, rule in enumerate(scores)}
    baseline = overall["baseline"]
    line = (scores[baseline].mean, baseline)
    printed = standing.ranked(scores, {rule: [] for rule in scores}, numbers, line, (AXES[0], MARKS), message(overall))
    ranked = Plot(message(overall), interactive.dots(scores, dict.fromkeys(scores, ()), "score [%]"))
    profiled = Plot(profile_message(overall), interactive.curves(curves_of(overall), *AXES))
    return (
        Drawing("ranking", printed, ranking_csv(overall), scores_alt(overall), ranked),
        Drawing("profile", profiles(overall, profiled.message), profile_csv(overall), profile_alt(overall), profiled),
    )


def curves_of(overall: dict[str, Any]) -> dict[str, Curve]:
    """The share of runs above each score, rule by rule."""
    return {
        row["rule"]: Curve(overall["thresholds"], [[100 * share[0] for share in row["profile"]]])
        for row in overall["rows"]
    }


def profiles(overall: dict[str, Any], title: str) -> bytes:
    """The share of runs above each score, a line a rule, best first; a PNG."""
    figure, axes = axes_for(title, *AXES)
    handles: list[Any] = []
    for number, (thresholds, (shares,)) in enumerate(curves_of(overall).values()):
        handles += axes.plot(thresholds, shares, **look(number), markevery=4)
    axes.set_ylim(-2, 102)
    draw_legend(figure, handles, [row["rule"] for row in overall["rows"]], "in order of their rank")
    return png(figure)


def ranking_csv(overall: dict[str, Any]) -> str:
    """A line a rule: its rank and its score with the interval, in percent."""
    return lines(
        {"rank": rank, "rule": row["rule"], **dict(zip(("score_percent", "low", "high"), row["score"], strict=True))}
        for rank, row in enumerate(overall["rows"], 1)
    )


def profile_csv(overall: dict[str, Any]) -> str:
    """A line a rule and threshold: the share of runs above it, with its interval, in percent."""
    return lines(
        {"rule": row["rule"], "score_percent": threshold, **_percent(share)}
        for row in overall["rows"]
        for threshold, share in zip(overall["thresholds"], row["profile"], strict=True)
    )


def message(overall: dict[str, Any]) -> str:
    """Which rule comes first, and how many stand above the baseline."""
    above = sum((row["verdict"] or "").startswith("above") for row in overall["rows"])
    return (
        f"{overall['rows'][0]['rule']} ranks first on {len(overall['tasks'])} tasks; {above} of "
        f"{len(overall['rows']) - 1} rules stand above {overall['baseline']}"
    )


def profile_message(overall: dict[str, Any]) -> str:
    """How many runs of the first rule and of the baseline get half of the way."""
    first, baseline = overall["rows"][0]["rule"], overall["baseline"]
    place = list(overall["thresholds"]).index(50)
    shares = {row["rule"]: 100 * row["profile"][place][0] for row in overall["rows"]}
    others = f", {baseline} in {shares[baseline]:.0f} %" if baseline in shares and baseline != first else ""
    return f"{first} scores above 50 in {shares[first]:.0f} % of its runs{others}"


def scores_alt(overall: dict[str, Any]) -> str:
    """The ranking, for those who do not see the dots."""
    told = "; ".join(f"{row['rule']} {as_interval(row['score'])}" for row in overall["rows"])
    return f"Interquartile mean scores, best first: {told}."


def profile_alt(overall: dict[str, Any]) -> str:
    """What the curves are of, for those who do not see them."""
    return f"Share of runs above each score. {profile_message(overall)}."


def _percent(share: list[float | None]) -> dict[str, float | None]:
    names = ("runs_above_percent", "low", "high")
    return {name: None if part is None else 100 * part for name, part in zip(names, share, strict=True)}
