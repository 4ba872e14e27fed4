"""Figures of equal tuning: the best validation measure so far against the number of trials."""

from __future__ import annotations

from typing import Any, NamedTuple

from sandbox.config.names import study_parts
from sandbox.measures import NAMES
from sandbox.report.figures import Curve, Curves, Figure

FEW = 10  # trials up to which each has a tick of its own


class Place(NamedTuple):
    """The comparison, task and rule of a study."""

    comparison: str
    task: str
    rule: str


def place(found: dict[str, Any], study: str) -> Place:
    """Split the name of a study into its parts."""
    comparison, rule = study_parts(study)
    return Place(comparison, found.get("tasks", {}).get(comparison, comparison), rule)


def comparisons(found: dict[str, Any]) -> list[str]:
    """List the comparisons of a grid in the order of the studies."""
    return list(dict.fromkeys(study_parts(name)[0] for name in found["studies"]))


def title(found: dict[str, Any]) -> str:
    """State what was tuned, and with which budget."""
    tasks = ", ".join(dict.fromkeys(place(found, name).task for name in found["studies"]))
    return f"tuning {len(curves_by_rule(found))} rules on {tasks}: {found['budget']['trials']} trials for each"


def figures(found: dict[str, Any]) -> list[Figure]:
    """Build the figure of the task; for several tasks that of their mean, then one for each."""
    each = comparisons(found)
    tasks = [_figure(f"tuning_{n}", _of(found, comparison)) for n, comparison in enumerate(each, 1)]
    return [_figure("tuning", found), *(tasks if len(tasks) > 1 else [])]


def _figure(name: str, found: dict[str, Any]) -> Figure:
    curves = means(found)
    listed = "; ".join(f"{rule} ends at {curve.seeds[0][-1]:.2f}" for rule, curve in curves.items())
    return Figure(
        name,
        message(found),
        f"Best validation {noun(found)} so far against trials. {listed}.",
        _rows(found),
        Curves(
            "trials",
            f"best validation {noun(found)} [%]",
            curves,
            tick=1 if found["budget"]["trials"] <= FEW else None,
        ),
    )


def noun(found: dict[str, Any]) -> str:
    """Return what trials are judged by: accuracy, R2 or F1, or several of them."""
    known = found.get("measures", {})  # absent in older folders, where it is the accuracy
    return " or ".join(dict.fromkeys(NAMES[known.get(each, "accuracy")] for each in comparisons(found)))


def _of(found: dict[str, Any], comparison: str) -> dict[str, Any]:
    studies = {name: study for name, study in found["studies"].items() if study_parts(name)[0] == comparison}
    return {**found, "studies": studies}


def message(found: dict[str, Any]) -> str:
    """State which rule ends highest, and on which task."""
    ends = {rule: curve.seeds[0][-1] for rule, curve in means(found).items()}
    each = comparisons(found)
    where = f"mean of {len(each)} tasks" if len(each) > 1 else place(found, next(iter(found["studies"]))).task
    budget = f"{found['budget']['trials']} trials{_spread(found)}"
    return f"{where}: {max(ends, key=lambda rule: ends[rule])} ends highest after {budget}"


def means(found: dict[str, Any]) -> dict[str, Curve]:
    """Average over tasks at each trial, for the rules that were tuned on all of them."""
    tasks = len(comparisons(found))
    heights = {
        rule: [sum(at) / len(at) for at in zip(*curves, strict=True)]
        for rule, curves in curves_by_rule(found).items()
        if len(curves) == tasks
    }
    return {rule: Curve(range(1, len(mean) + 1), [mean]) for rule, mean in heights.items()}


def curves_by_rule(found: dict[str, Any]) -> dict[str, list[list[float]]]:
    """Collect the curves of each rule, task by task."""
    curves: dict[str, list[list[float]]] = {}
    for name, study in found["studies"].items():
        curves.setdefault(study_parts(name)[1], []).append(study["best_so_far"])
    return curves


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one CSV row for each trial: its options, its validation measure and the best so far."""
    return [
        {
            "comparison": study_parts(name)[0],
            "rule": study_parts(name)[1],
            "trial": number,
            "options": trial["options"],
            "validation_percent": trial["validation"],
            "best_so_far_percent": best,
        }
        for name, study in found["studies"].items()
        for number, (trial, best) in enumerate(zip(study["trials"], study["best_so_far"], strict=True))
    ]


def _spread(found: dict[str, Any]) -> str:
    seeds = found["budget"]["seeds"]
    return "" if seeds == 1 else f" of {seeds} seeds each"
