"""The four measures of accuracy at fewer time steps: names, units and meanings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sandbox.comparisons.settings import blocks, searches_of
from sandbox.runs.finished import FinishedRun, by_rule
from sandbox.statistics import Interval, block_means, interval


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
        "The drop is the accuracy at the most time steps minus the accuracy at the fewest, in points.",
    ),
    Measure(
        "area",
        "latency_area",
        "mean accuracy over steps",
        "%",
        100,
        "The area is the mean accuracy over all numbers of time steps used, in percent.",
    ),
    Measure(
        "consistency",
        "temporal_cosine",
        "consistency over time",
        "",
        1,
        "The consistency is the mean cosine between the inputs of the read-out at two different steps of a sample: "
        "1 where they are the same at every step.",
    ),
    Measure(
        "separation",
        "class_separation",
        "class separation",
        "",
        1,
        "The separation is the mean cosine between the inputs of the read-out for two samples of one class at a step "
        "minus that for two samples of different classes: 0 where the classes do not differ.",
    ),
)


def measured(runs: Sequence[FinishedRun]) -> list[Measure]:
    """List the measures that every run has; none where a run was tested at one number of steps only."""
    if not all(len(run.test_at) > 1 for run in runs):
        return []
    return [measure for measure in MEASURES if all(measure.key in run.result["test"] for run in runs)]


def value(run: FinishedRun, measure: Measure) -> float:
    """Return the value of a run in the unit of the measure."""
    number = run.result["test"][measure.key]
    return math.nan if number is None else measure.scale * float(number)


def values(runs: Sequence[FinishedRun], measure: Measure) -> dict[str, list[float]]:
    """Return the values of each rule, seed by seed."""
    return {rule: [value(run, measure) for run in mine] for rule, mine in by_rule(runs).items()}


def intervals(runs: Sequence[FinishedRun], measure: Measure) -> dict[str, Interval]:
    """Return each rule's mean over its seeds with its 95 % interval, over searches where there are several."""
    of = blocks([searches_of(mine) for mine in by_rule(runs).values()])
    return {rule: interval(block_means(found, of)) for rule, found in values(runs, measure).items()}
