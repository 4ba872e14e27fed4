"""What a search tried and found, as `tuning.json` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rules.spaces import Space
from sandbox.tuning import ranges

COSTS = ("operations", "forwards")  # of a trial: multiply-accumulates in both directions, and forward passes


def complete(study: Any) -> list[Any]:
    """Return the complete trials of a study of Optuna in order."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]


def best_of(done: Sequence[Any]) -> Any:
    """Return the best of complete trials; of equal ones the first."""
    return max(done, key=lambda trial: (trial.value, -trial.number))


def summary(done: Sequence[Any], space: Space) -> dict[str, Any]:
    """Return every trial with its cost, the best one and the best so far, and where was searched.

    `within` are the ranges after the last trial, `grown` those that grew, with the trial before which they did, and
    `at_end` the options whose range ended near the best trial all the same.
    """
    trials = [
        {
            "options": trial.params,
            "validation": trial.value,
            **{name: trial.user_attrs[name] for name in COSTS},
        }
        for trial in done
    ]
    best, spaces = best_of(done), [trial.user_attrs["within"] for trial in done]
    place = [trial.number for trial in done].index(best.number)
    return {
        "trials": trials,
        "best": {"trial": place, **trials[place]},
        "best_so_far": [max(trial.value for trial in done[: n + 1]) for n in range(len(done))],
        "within": spaces[-1],
        "grown": [each for n in range(1, len(done)) for each in _grown(n, spaces[n - 1], spaces[n])],
        "at_end": ranges.at_end(ranges.narrowed(space, spaces[-1]), best.params),
    }


def _grown(trial: int, before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ranges that grew before a trial, counted from 0."""
    return [{"trial": trial, "option": name, "within": after[name]} for name in after if after[name] != before[name]]
