"""One run of a trial: learn on the training samples, and be judged by the validation samples."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

from rules import NonFinite
from rules.contract import Cost
from sandbox.config.experiment import Experiment
from sandbox.measures import score
from sandbox.runs.preparing import evaluation, own_process, prepare
from sandbox.tasks.base import Dataset

TUNED = ("train", "validation")  # the splits that tuning looks at
LEAST = -1e6  # of R2: as if errors were a thousand times the spread of the targets


def tunable(data: Dataset) -> Dataset:
    """Return the data with an empty test split, so that tuning cannot use it."""
    return data._replace(test=data.train.first(0))


class Tried(NamedTuple):
    """What one run of a trial came to."""

    validation: float  # the measure of the validation samples in percent
    cost: Cost  # of learning


def validated(experiment: Experiment, data: Dataset) -> Tried:
    """Learn, and return the measure of the validation samples, by which models are selected, with the cost.

    Where learning diverges it is 0, and for R2, which has no lower bound, the least that is told apart.

    Raises:
        ValueError: the rule or the model raised it, at weights that are finite.
    """
    worst, cost = LEAST if data.measure == "r2" else 0.0, Cost()
    with warnings.catch_warnings(), own_process(experiment):
        warnings.simplefilter("ignore")
        trainer, train = prepare(experiment, data)
        try:
            for info in trainer.fit(train, experiment.epochs):
                cost += info.cost
            found = score(trainer.evaluate(evaluation(experiment, data.validation, "validation")))
            return Tried(100 * (worst if math.isnan(found) else max(found, worst)), cost)
        except (NonFinite, ValueError) as error:
            finite = all(bool(p.isfinite().all()) for p in trainer.parameters.values())
            if trainer.steps == 0 or (finite and not isinstance(error, NonFinite)):  # a mistake, not divergence
                raise
            return Tried(100 * worst, cost)
