"""Rules that are one rule on a network: equal gradients from the same weights, and the same plasticity."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from itertools import islice
from types import MappingProxyType
from typing import Any

import torch

from rules import HealthWarning
from sandbox.config.experiment import Experiment
from sandbox.machine.files import read_json
from sandbox.machine.memory import is_exhausted
from sandbox.runs.finished import FinishedRun
from sandbox.runs.preparing import own_process, prepare
from sandbox.runs.seal import WHOLE, unsealed
from sandbox.tasks.base import Dataset

BATCHES = 2  # that are compared: the second shows what the state of a rule does
# Of the norm: float32 sums of the same terms in another order differ by 1e-7, and rules that differ by far more.
CLOSE = 1e-6
Gradients = list[tuple[torch.Tensor, ...]]  # of each parameter, update by update


class Recorder(torch.optim.Optimizer):
    """An optimizer that keeps the gradients and leaves the weights as they are."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {})
        self.found: Gradients = []

    def step(self, closure: Any = None) -> Any:
        """Keep the gradients, 0 where a rule has none."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        self.found.append(tuple(torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters))


def coinciding(
    plans: Mapping[str, Experiment], data: Dataset, trained: Mapping[str, int] = MappingProxyType({})
) -> dict[str, str]:
    """Return the first rule with the same gradients and plasticity, by the label of each rule that has one.

    Only rules of different names are compared, on the same network with the same initial weights, batches and random
    draws. Options that tuning found may differ: they are chance where the rules are one. Rules whose gradients are 0
    for a whole weight matrix are not told to coincide, since what they do later is not seen.

    Args:
        plans: the experiment of each rule, all with the same seed.
        data: what they learn.
        trained: the number of parameters that each rule trains, where it is known; rules that differ in it are not
            tried.
    """
    groups: dict[Hashable, list[str]] = {}
    for label, experiment in plans.items():
        plasticity = _plasticity(experiment, data)
        groups.setdefault(None if plasticity is None else (plasticity, trained.get(label)), []).append(label)
    found: dict[str, str] = {}
    for key, labels in groups.items():
        if key is not None and len({plans[label].rule.name for label in labels}) > 1:
            found |= _same({label: plans[label] for label in labels}, data)
    return found


def coincided(runs: Iterable[FinishedRun]) -> dict[str, str]:
    """Return what coincides by the table of the comparison that made the runs, without running anything.

    Nothing coincides without such a table, or if it was edited.
    """
    runs = list(runs)
    labels = {run.rule for run in runs}
    for folder in dict.fromkeys(run.folder.parent for run in runs):
        with suppress(OSError, ValueError, AttributeError):
            if (folder / "table.json").exists() and not unsealed(folder, WHOLE):
                found = read_json(folder / "table.json").get("coincides") or {}
                return {rule: first for rule, first in found.items() if {rule, first} <= labels}
    return {}


def _same(plans: Mapping[str, Experiment], data: Dataset) -> dict[str, str]:
    """Return the first rule with the same gradients, by label, among rules of one plasticity."""
    gradients: dict[str, Gradients] = {}
    found: dict[str, str] = {}
    names: dict[str, set[str]] = {}  # of the rules in each group, by the label of the first
    for label, experiment in plans.items():
        mine = _gradients(experiment, data)
        if mine is None:
            continue
        name = experiment.rule.name
        first = next((one for one, known in gradients.items() if name not in names[one] and _equal(known, mine)), None)
        if first is None:
            gradients[label], names[label] = mine, {name}
        else:
            found[label] = first
            names[first].add(name)
    return found


def _plasticity(experiment: Experiment, data: Dataset) -> Hashable:
    """Return what has to be equal beside gradients, without what tuning found; None for a plasticity without fields."""
    rule = experiment.make_rule(data)
    if not is_dataclass(rule.plasticity):
        return None
    searched = () if experiment.rule.search is None else tuple(sorted(experiment.rule.search.options))
    settings = {f.name: getattr(rule.plasticity, f.name) for f in fields(rule.plasticity) if f.name not in searched}
    return repr((type(rule.plasticity), settings, searched, rule.every, experiment.network, experiment.epochs))


def _gradients(experiment: Experiment, data: Dataset) -> Gradients | None:
    """Return the gradients of a rule on the first batches; None where it has none that say enough."""
    try:
        with warnings.catch_warnings(), own_process(experiment):
            warnings.simplefilter("ignore", HealthWarning)
            trainer, train = prepare(experiment, data)
            recorder = Recorder(trainer.parameters.values())
            trainer.optimizer = recorder
            for batch in islice(train, BATCHES):
                trainer.step(batch)
    except (TypeError, ValueError, RuntimeError) as error:
        if is_exhausted(error):  # says nothing about the rule
            raise
        return None
    silent = any(not gradient.any() for each in recorder.found for gradient in each if gradient.ndim > 1)
    return None if silent or not recorder.found else recorder.found


def _equal(one: Gradients, two: Gradients) -> bool:
    """Tell whether gradients agree in every parameter and update."""
    if [[g.shape for g in each] for each in one] != [[g.shape for g in each] for each in two]:
        return False
    pairs = [(a, b) for ours, theirs in zip(one, two, strict=True) for a, b in zip(ours, theirs, strict=True)]
    return all(bool((a - b).norm() <= CLOSE * torch.maximum(a.norm(), b.norm())) for a, b in pairs)
