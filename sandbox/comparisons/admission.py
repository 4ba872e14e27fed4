"""Check which rules of a comparison can learn on its model, before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from rules import HealthWarning, NonFinite
from sandbox.config.experiment import Experiment
from sandbox.machine.memory import is_exhausted
from sandbox.runs.preparing import own_process, prepare
from sandbox.tasks.base import Dataset


class Unfit(ValueError):
    """Raised when some rules cannot learn on the model or the samples of a comparison; names a baseline among them."""

    def __init__(self, task: str, reasons: Mapping[str, str], others: list[str], baseline: str | None = None) -> None:
        lines = "\n".join(f"  {label}: {reason}" for label, reason in reasons.items())
        rest = f"\nwould run: {', '.join(others)}; --skip-unfit runs only these" if others else ""
        if baseline is not None:
            rest = f"\n{baseline} is what all others are compared with, so that it cannot be left out"
        number = f"{len(reasons)} of {len(reasons) + len(others)}" if others else f"{len(reasons)}"
        super().__init__(f"{number} rules do not fit {task}:\n{lines}{rest}")
        self.reasons = dict(reasons)


def unfit(plans: Mapping[str, Experiment], data: Dataset) -> dict[str, str]:
    """Return the reason for each rule that cannot take its first step, or cannot be watched by the microscope.

    A rule that diverges is not counted as unfit. A reason is one line, as tables have it.
    """
    reasons = {}
    for label, experiment in plans.items():
        try:
            with warnings.catch_warnings(), own_process(experiment):
                warnings.simplefilter("ignore", HealthWarning)
                trainer, train = prepare(experiment, data)
                if experiment.microscope is not None:
                    experiment.microscope.make().admit(trainer.model)
                trainer.step(next(iter(train)))
        except NonFinite:
            continue
        except (TypeError, ValueError, RuntimeError) as error:
            if is_exhausted(error):  # says nothing about the rule
                raise
            reasons[label] = " ".join(str(error).split())
    return reasons
