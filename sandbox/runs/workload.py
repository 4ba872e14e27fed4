"""What a run asks of hardware: its model with the weights it learned, its rule, and a batch of its own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from rules import Batch
from rules.batches import fitted
from rules.plasticity.projected import ProjectedOptimizer
from sandbox.config.experiment import Experiment
from sandbox.hardware.measuring import measure
from sandbox.hardware.optimizers import name_of
from sandbox.hardware.plans import Plan, plan_of
from sandbox.hardware.workload import WORD, Workload
from sandbox.machine.text import command
from sandbox.runs import folder as folders
from sandbox.runs.checkpoint import unreadable
from sandbox.runs.continuing import own_checkpoint
from sandbox.runs.preparing import loaded, own_process, prepare
from sandbox.runs.trust import require_trust


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
    config = folders.read_config(folder, "run")
    require_trust(folder, config, trust)
    experiment: Experiment = folders.load(Experiment, folder)
    name = experiment.rule.name if rule is None else rule
    plan_of(name)  # raises before anything is loaded
    kept = own_checkpoint(folder, experiment)
    if kept is None:
        ended = (folder / "result.json").exists()
        remedy = folders.again(folder) if ended else f"`{command('resume', folder)}` writes one"
        raise ValueError(f"{folder} has no checkpoint.pt, so its weights and its spikes are not known; {remedy}")
    with own_process(experiment):
        trainer, train = prepare(experiment, loaded(experiment, data_dir))
        batch: Batch = fitted(next(iter(train)), trainer.model, next(trainer.model.parameters()))
        try:
            trainer.load_state_dict(kept["trainer"])
        except Exception as error:  # of another model, or damaged
            raise unreadable(folder / "checkpoint.pt", f"{type(error).__name__}: {error}") from error
        found = measure(trainer.model, batch, trainer.rule.objective, bits)
        credit = trainer.rule.credit if rule is None else None
        return Asked(found, name, plan_of(name, credit), name_of(moving(trainer.optimizer)))


def moving(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer that moves weights: of projected ones the inner one, of the latent weights."""
    return moving(optimizer.inner) if isinstance(optimizer, ProjectedOptimizer) else optimizer
