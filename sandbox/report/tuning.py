"""Figures of equal tuning: the best validation measure so far, against trials and against operations."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sandbox.measures import NAMES
from sandbox.report.figures import Curve, Curves, Figure

FEW = 10  # trials up to which each has a tick of its own
SPENT = "operations"  # of a trial; folders of earlier versions do not say


class Place(NamedTuple):
    """The comparison, task, rule and search of a study."""

    comparison: str
    task: str
    rule: str
    search: int = 0


def place(found: dict[str, Any], study: str) -> Place:
    """Split the name of a study into its parts; those of earlier versions have one search, and no number of it."""
    comparison, _, rule = study.partition("/")
    search = found["studies"].get(study, {}).get("search")
    rule = rule if search is None else rule.rpartition("/")[0]
    return Place(comparison, found.get("tasks", {}).get(comparison, comparison), rule, search or 0)


def comparisons(found: dict[str, Any]) -> list[str]:
    """List the comparisons of a grid in the order of the studies."""
    return list(dict.fromkeys(name.partition("/")[0] for name in found["studies"]))


def title(found: dict[str, Any]) -> str:
    """State what was tuned, and with which budget."""
    places = [place(found, name) for name in found["studies"]]
    tasks = ", ".join(dict.fromkeys(each.task for each in places))
    return f"tuning {len({each.rule for each in places})} rules on {tasks}: {budget(found)} for each"


def budget(found: dict[str, Any]) -> str:
    """Return the budget of each rule in words."""
    given = found["budget"]
    searches = f"{given['searches']} searches of " if given.get("searches", 1) > 1 else ""
    return f"{searches}{given['trials']} trials" + ("" if given["seeds"] == 1 else f" of {given['seeds']} seeds each")


def figures(found: dict[str, Any]) -> list[Figure]:
    """Build the figures of the task, against trials and operations; for several tasks their mean, then each."""
    each = comparisons(found)
    if len(each) == 1:
        return [_against_trials("tuning", found), *_against_operations("tuning_operations", found)]
    parts = [
        figure
        for n, comparison in enumerate(each, 1)
        for figure in (
            _against_trials(f"tuning_{n}", _of(found, comparison)),
            *_against_operations(f"tuning_operations_{n}", _of(found, comparison)),
        )
    ]
    return [_against_trials("tuning", found), *parts]


def _against_trials(name: str, found: dict[str, Any]) -> Figure:
    tick = 1 if found["budget"]["trials"] <= FEW else None
    return _figure(name, found, "trials", means(found), tick=tick)


def _against_operations(name: str, found: dict[str, Any]) -> list[Figure]:
    """Build the figure of one task, where trials say what they cost."""
    if not all(trial.get(SPENT) for study in found["studies"].values() for trial in study["trials"]):
        return []
    rules = dict.fromkeys(place(found, study).rule for study in found["studies"])
    spent = {
        rule: stepped([study for key, study in found["studies"].items() if place(found, key).rule == rule])
        for rule in rules
    }
    return [_figure(name, found, "log10 of operations so far", spent)]


def _figure(name: str, found: dict[str, Any], x: str, curves: dict[str, Curve], tick: float | None = None) -> Figure:
    listed = "; ".join(f"{rule} ends at {_end(curve):.2f}" for rule, curve in curves.items())
    searches = max((len(curve.seeds) for curve in curves.values()), default=0)
    note = f"thick: mean of {searches} searches; thin: every search" if searches > 1 else ""
    return Figure(
        name,
        message(found),
        f"Best validation {noun(found)} so far against {x}. {listed}.",
        _rows(found),
        Curves(x, f"best validation {noun(found)} [%]", curves, note=note, tick=tick),
    )


def _end(curve: Curve) -> float:
    """Return the mean over searches at the end of a curve."""
    return sum(heights[-1] for heights in curve.seeds) / len(curve.seeds)


def noun(found: dict[str, Any]) -> str:
    """Return what trials are judged by: accuracy, R2 or F1, or several of them."""
    known = found.get("measures", {})  # absent in older folders, where it is the accuracy
    return " or ".join(dict.fromkeys(NAMES[known.get(each, "accuracy")] for each in comparisons(found)))


def _of(found: dict[str, Any], comparison: str) -> dict[str, Any]:
    studies = {name: study for name, study in found["studies"].items() if name.partition("/")[0] == comparison}
    return {**found, "studies": studies}


def message(found: dict[str, Any]) -> str:
    """State which rule ends highest, and on which task."""
    ends = {rule: _end(curve) for rule, curve in means(found).items()}
    each = comparisons(found)
    where = f"mean of {len(each)} tasks" if len(each) > 1 else place(found, next(iter(found["studies"]))).task
    if not ends:
        return f"{where}: no rule was tuned on all of them"
    return f"{where}: {max(ends, key=lambda rule: ends[rule])} ends highest after {budget(found)}"


def means(found: dict[str, Any]) -> dict[str, Curve]:
    """Return the curves of the searches of each rule against trials, as means over tasks.

    Rules that were not tuned on all tasks are left out; the n-th searches on all tasks make one curve.
    """
    curves: dict[str, dict[int, list[list[float]]]] = {}
    for name, study in found["studies"].items():
        at = place(found, name)
        curves.setdefault(at.rule, {}).setdefault(at.search, []).append(study["best_so_far"])
    tasks, trials = len(comparisons(found)), range(1, found["budget"]["trials"] + 1)
    return {
        rule: Curve(trials, [[sum(at) / len(at) for at in zip(*each, strict=True)] for each in searches.values()])
        for rule, searches in curves.items()
        if all(len(each) == tasks for each in searches.values())
    }


def stepped(studies: Sequence[dict[str, Any]]) -> Curve:
    """Return the best so far of several searches against log10 of the operations that each has spent.

    Searches spend them in different steps: all have a value at each step of any, that of their last trial before it.
    The axis begins where all have one.

    >>> study = {"trials": [{"operations": 10}, {"operations": 90}], "best_so_far": [1.0, 2.0]}
    >>> stepped([study, {"trials": [{"operations": 100}], "best_so_far": [5.0]}])
    Curve(x=[2.0], seeds=[[2.0], [5.0]], band=())
    """
    spent = [list(itertools.accumulate(trial[SPENT] for trial in study["trials"])) for study in studies]
    first = max(each[0] for each in spent)
    at = sorted({number for each in spent for number in each if number >= first})
    heights = [
        [study["best_so_far"][bisect.bisect_right(each, number) - 1] for number in at]
        for study, each in zip(studies, spent, strict=True)
    ]
    return Curve([math.log10(number) for number in at], heights)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one CSV row for each trial: its options, its cost, its validation measure and the best so far."""
    return [
        {
            "comparison": at.comparison,
            "rule": at.rule,
            "search": at.search,
            "trial": number,
            "options": trial["options"],
            "operations": trial.get(SPENT),
            "forwards": trial.get("forwards"),
            "validation_percent": trial["validation"],
            "best_so_far_percent": best,
        }
        for name, study in found["studies"].items()
        for at in (place(found, name),)
        for number, (trial, best) in enumerate(zip(study["trials"], study["best_so_far"], strict=True))
    ]
