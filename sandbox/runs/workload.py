"""What a run asks of hardware: its model with the weights it learned, its rule, and a batch of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from rules import Batch
from rules.batches import fitted
from rules.plasticity.projected import ProjectedOptimizer
from sandbox.hardware.measuring import measure
from sandbox.hardware.optimizers import name_of
from sandbox.hardware.plans import Plan, plan_of
from sandbox.hardware.workload import WORD, Workload
from sandbox.runs.preparing import own_process
from sandbox.runs.trained import admitted, trained


class Asked(NamedTuple):
    """What an estimate of a run needs."""

    workload: Workload
    rule: str
    plan: Plan
    optimizer: str | None  # a name of `sandbox.hardware.OPTIMIZERS`; None for another one


def workload_of(
    folder: Path, data_dir: str | None = None, trust: bool = False, bits: int = WORD, rule: str | None = None
) -> Asked:
    """Measure the workload of a run on its first batch of training samples, with the weights of its last checkpoint.

    Nothing is written into the folder. The loss of the pass back is the run's own.

    Args:
        folder: of a run, finished or not.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        trust: whether to run code that the folder names although it was not made here.
        bits: of a weight, 16 by default.
        rule: whose work is asked for; by default that of the run, with its settings.

    Raises:
        ValueError: for a folder that is not that of a run, or has no checkpoint; and for a rule without a formula.
        RunFailed: for a checkpoint that cannot be read or does not fit the model.
    """
    experiment = admitted(folder, trust)
    name = experiment.rule.name if rule is None else rule
    plan_of(name)  # raises before anything is loaded
    with own_process(experiment):
        trainer, train, _ = trained(folder, experiment, data_dir)
        batch: Batch = fitted(next(iter(train)), trainer.model, next(trainer.model.parameters()))
        found = measure(trainer.model, batch, trainer.rule.objective, bits)
        credit = trainer.rule.credit if rule is None else None
        return Asked(found, name, plan_of(name, credit), name_of(moving(trainer.optimizer)))


def moving(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer that moves weights: of projected ones the inner one, of the latent weights."""
    return moving(optimizer.inner) if isinstance(optimizer, ProjectedOptimizer) else optimizer
