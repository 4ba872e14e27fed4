"""Equal tuning as a figure: the best validation accuracy so far against the trials spent, a line a rule."""

from __future__ import annotations

from typing import Any

from sandbox.report.canvas import Curve, axes_for, draw_legend, lines, look, png


def best_so_far(found: dict[str, Any]) -> bytes:
    """Best validation accuracy so far, the mean over tasks, against trials; a PNG."""
    figure, axes = axes_for(message(found), "trials", height(found))
    handles: list[Any] = []
    for number, (trials, (mean,)) in enumerate(means(found).values()):
        handles += axes.plot(trials, mean, **look(number), markevery=max(1, len(mean) // 10))
    draw_legend(figure, handles, list(curves_by_rule(found)), "")
    return png(figure)


def message(found: dict[str, Any]) -> str:
    """What every rule had."""
    return f"every rule had {found['budget']['trials']} trials{_spread(found)}"


def height(found: dict[str, Any]) -> str:
    """The name of the upright axis."""
    return f"best validation accuracy so far{_over(found)} [%]"


def means(found: dict[str, Any]) -> dict[str, Curve]:
    """The mean over tasks at each trial, rule by rule."""
    heights = {rule: [sum(at) / len(at) for at in zip(*curves, strict=True)]
               for rule, curves in curves_by_rule(found).items()}  # fmt: skip
    return {rule: Curve(range(1, len(mean) + 1), [mean]) for rule, mean in heights.items()}


def curves_by_rule(found: dict[str, Any]) -> dict[str, list[list[float]]]:
    """The curves of each rule, task by task."""
    curves: dict[str, list[list[float]]] = {}
    for name, study in found["studies"].items():
        curves.setdefault(name.rpartition("/")[2], []).append(study["best_so_far"])
    return curves


def trials_csv(found: dict[str, Any]) -> str:
    """A line a trial: its options, its validation accuracy and the best so far."""
    return lines(
        {
            "comparison": name.rpartition("/")[0],
            "rule": name.rpartition("/")[2],
            "trial": number,
            "options": trial["options"],
            "validation_percent": trial["validation"],
            "best_so_far_percent": best,
        }
        for name, study in found["studies"].items()
        for number, (trial, best) in enumerate(zip(study["trials"], study["best_so_far"], strict=True))
    )


def alt(found: dict[str, Any]) -> str:
    """Where the curves end, for those who do not see them."""
    ends = {rule: sum(curve[-1] for curve in curves) / len(curves) for rule, curves in curves_by_rule(found).items()}
    told = "; ".join(f"{rule} ends at {end:.2f}" for rule, end in ends.items())
    return f"Best validation accuracy so far against trials. {told}."


def _over(found: dict[str, Any]) -> str:
    tasks = {name.rpartition("/")[0] for name in found["studies"]}
    return f", mean over {len(tasks)} tasks" if len(tasks) > 1 else ""


def _spread(found: dict[str, Any]) -> str:
    seeds = found["budget"]["seeds"]
    return "" if seeds == 1 else f" of {seeds} seeds"
