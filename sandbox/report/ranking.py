"""The performance profile of a grid: how many of its runs score above what, rule by rule."""

from __future__ import annotations

from typing import Any

from sandbox.report.canvas import Curve, axes_for, draw_legend, lines, look, png

AXES = ("score [% of the way from chance to the task's best rule]", "runs above it [%]")


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
    return (f"{overall['rows'][0]['rule']} ranks first on {len(overall['tasks'])} tasks; {above} of "
            f"{len(overall['rows']) - 1} rules stand above {overall['baseline']}")  # fmt: skip


def alt(overall: dict[str, Any]) -> str:
    """The ranking, for those who do not see the curves."""
    told = "; ".join(f"{row['rule']} {row['score'][0]:.1f}" for row in overall["rows"])
    return f"Share of runs above each score. Interquartile mean scores: {told}."


def _percent(share: list[float | None]) -> dict[str, float | None]:
    names = ("runs_above_percent", "low", "high")
    return {name: None if part is None else 100 * part for name, part in zip(names, share, strict=True)}
