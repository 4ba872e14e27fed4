"""The four measures of accuracy at fewer time steps: their names, units and meanings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sandbox.runs.finished import FinishedRun, by_rule
from sandbox.statistics import Interval, interval


class Measure(NamedTuple):
    """One number of a run that was tested at fewer time steps."""

    name: str  # of the figure
    key: str  # in `result["test"]`
    noun: str  # in a sentence
    unit: str  # of the number times `scale`; empty for a cosine
    scale: float
    meaning: str

    @property
    def label(self) -> str:
        """The name of an axis."""
        return f"{self.noun} [{self.unit}]" if self.unit else self.noun


MEASURES = (
    Measure(
        "drop",
        "latency_drop",
        "accuracy drop",
        "points",
        100,
        "The drop is the accuracy from the most time steps minus the accuracy from the fewest, in points.",
    ),
    Measure(
        "area",
        "latency_area",
        "mean accuracy over steps",
        "%",
        100,
        "The area is the mean of the accuracies over the numbers of time steps used, in percent.",
    ),
    Measure(
        "consistency",
        "temporal_cosine",
        "consistency over time",
        "",
        1,
        "The consistency is the mean cosine between what the read-out receives from a sample at two different steps: "
        "1 where every step looks the same.",
    ),
    Measure(
        "separation",
        "class_separation",
        "class separation",
        "",
        1,
        "The separation is the mean cosine between what the read-out receives at a step from two samples of one class "
        "minus that from two samples of different classes: 0 where the classes look alike.",
    ),
)


def measured(runs: Sequence[FinishedRun]) -> list[Measure]:
    """The measures that every run has; none where a run saw no choice of steps."""
    if not all(len(run.accuracy_at) > 1 for run in runs):
        return []
    return [measure for measure in MEASURES if all(measure.key in run.result["test"] for run in runs)]


def value(run: FinishedRun, measure: Measure) -> float:
    """A run's number in the measure's unit."""
    number = run.result["test"][measure.key]
    return math.nan if number is None else measure.scale * float(number)


def values(runs: Sequence[FinishedRun], measure: Measure) -> dict[str, list[float]]:
    """Each rule's numbers, seed by seed."""
    return {rule: [value(run, measure) for run in mine] for rule, mine in by_rule(runs).items()}


def intervals(runs: Sequence[FinishedRun], measure: Measure) -> dict[str, Interval]:
    """Each rule's mean over its seeds with its 95 % interval."""
    return {rule: interval(found) for rule, found in values(runs, measure).items()}
