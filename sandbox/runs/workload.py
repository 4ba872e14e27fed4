"""What a run asks of hardware: its model with the weights it learned, its rule, and a batch of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from rules import Batch, LearningRule
from rules.batches import fitted
from rules.optional import plain
from rules.plasticity.projected import ProjectedOptimizer
from sandbox.hardware.measuring import measure
from sandbox.hardware.optimizers import name_of
from sandbox.hardware.plans import Plan, plan_of
from sandbox.hardware.workload import WORD, Layer, Workload
from sandbox.runs.preparing import own_process
from sandbox.runs.trained import admitted, trained


class Asked(NamedTuple):
    """What an estimate of a run needs."""

    workload: Workload
    rule: str
    plan: Plan
    optimizer: str | None  # a name of `sandbox.hardware.OPTIMIZERS`; None for another one
    updates: float = 1.0  # of the weights for each batch


def workload_of(
    folder: Path, data_dir: str | None = None, trust: bool = False, bits: int | None = None, rule: str | None = None
) -> Asked:
    """Measure the workload of a run on its first batch of training samples, with the weights of its last checkpoint.

    Nothing is written into the folder. The loss of the pass back is the run's own.

    Args:
        folder: of a run, finished or not.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        trust: whether to run code that the folder names although it was not made here.
        bits: of all weights; None for those that the run's plasticity shows, and 16 of others.
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
        found = measure(trainer.model, batch, trainer.rule.objective, WORD if bits is None else bits)
        if bits is None:
            found = shown(found, trainer.model, trainer.optimizer)
        plan, updates = plan_of(name), 1 / experiment.accumulate
        if rule is None:
            steps = max(layer.steps for layer in found.layers)
            plan, updates = own_plan(name, trainer.rule), updates * windows(trainer.rule, steps)
        return Asked(found, name, plan, name_of(moving(trainer.optimizer)), updates)


def own_plan(name: str, rule: LearningRule) -> Plan:
    """Return the plan of a rule with its settings; one that learns inside of sequences keeps a window at a time."""
    plan = plan_of(name, rule.credit)
    if rule.every is None or plan.state not in ("steps", "sampled"):
        return plan
    return replace(plan, state="sampled", window=min(rule.every, plan.window or rule.every))


def windows(rule: LearningRule, steps: int) -> int:
    """Return how often a rule updates the weights in a sequence of so many steps."""
    return 1 if rule.every is None else math.ceil(steps / rule.every)


def shown(workload: Workload, model: nn.Module, optimizer: torch.optim.Optimizer) -> Workload:
    """Return a workload whose weights have as many bits as projected ones can be stored in, 16 at most.

    Scales of channels are not counted: they are one number for all weights of a cell.
    """
    if not isinstance(optimizer, ProjectedOptimizer):
        return workload

    def narrowed(layer: Layer) -> Layer:
        p = plain(model).get_parameter(f"{layer.name}.weight")
        bits = optimizer.storage(p).bits if p in optimizer.state else WORD
        return replace(layer, bits=min(WORD, bits))

    return replace(workload, layers=tuple(narrowed(layer) for layer in workload.layers))


def moving(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer that moves weights: of projected ones the inner one, of the latent weights."""
    return moving(optimizer.inner) if isinstance(optimizer, ProjectedOptimizer) else optimizer
