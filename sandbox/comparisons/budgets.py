"""Validation accuracy at several budgets: of epochs, and as many operations as the cheapest rule needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.comparisons.cells import operations, plain
from sandbox.runs.finished import FinishedRun
from sandbox.statistics import block_means, interval

SAME = 1 + 1e-9  # operations that differ by rounding alone are equal


def budgets(
    runs: Mapping[str, Sequence[FinishedRun]], of: Sequence[int] | None = None
) -> dict[str, dict[str, Any] | None]:
    """Return the validation accuracy of each rule after its first epoch, half and all, and at equal operations [%].

    Half of an odd number of epochs is rounded up, so that with three of them it is two.
    `operations` is the accuracy after the last epoch that ends within the operations of the rule that needs fewest in
    all; null for a rule whose first epoch needs more. A rule that learned for one epoch has null.

    Args:
        runs: of each rule, by its label.
        of: the search of each seed; by default each seed is a replicate.
    """
    least = min(max(map(_spent, found)) for found in runs.values())
    return {label: _of_rule(found, least, of) for label, found in runs.items()}


def _of_rule(runs: Sequence[FinishedRun], least: float, of: Sequence[int] | None) -> dict[str, Any] | None:
    last = min(run.epochs[-1] for run in runs)
    if last < 2:
        return None
    epochs = {"first": 1, "half": math.ceil(last / 2), "whole": last}
    found = {name: [_at(run, epoch) for run in runs] for name, epoch in epochs.items()}
    found["operations"] = [_within(run, least) for run in runs]
    return {
        name: None if None in values else plain(interval(block_means([v for v in values if v is not None], of)))
        for name, values in found.items()
    }


def _spent(run: FinishedRun) -> float:
    return operations(run.metrics[-1])


def _at(run: FinishedRun, epoch: int) -> float | None:
    """Return the accuracy after an epoch; None where its line is missing."""
    return dict(zip(run.epochs, run.curve, strict=True)).get(epoch)


def _within(run: FinishedRun, most: float) -> float | None:
    """Return the accuracy after the last epoch that ends within so many operations; None for none."""
    heights = [
        height
        for line, height in zip(run.metrics, run.curve, strict=True)
        if line["epoch"] > 0 and 0 < operations(line) <= most * SAME
    ]
    return heights[-1] if heights else None
