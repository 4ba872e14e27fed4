"""What a run is made of: its data, its trainer, its loaders, and a process as if it were new."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rules import Batch, Trainer
from rules.batches import moved
from rules.contract import steps_of
from rules.generators import Globals
from rules.objectives.distillation import SpikeAwareDistillation
from rules.optional import context_of, method_of
from rules.recipes import LearningRule
from rules.seeds import derived
from rules.team import ALONE, Team
from sandbox.config.experiment import Experiment
from sandbox.networks.calibration import calibrate
from sandbox.networks.multiscale import regularise
from sandbox.networks.network import Network
from sandbox.networks.noisy import NoisyReadout
from sandbox.networks.rebinned import Rebinned, rebin
from sandbox.runs import attempts
from sandbox.synapses import using
from sandbox.tasks.base import SPLITS, Dataset, Samples
from sandbox.tasks.encode import check_sequence
from sandbox.tasks.loader import Loader

_LAST: dict[tuple[str, str, str | None, tuple[str, ...]], Dataset] = {}


def loaded(experiment: Experiment, data_dir: str | None, splits: tuple[str, ...] = SPLITS) -> Dataset:
    """Load the data of a task, with these splits checked; a worker that needs them again takes them from memory.

    Only a worker, which lives no longer than a comparison, and no task of the user's: those may load other data later.
    """
    if multiprocessing.parent_process() is None or ":" in experiment.task.name:
        return experiment.load(data_dir, splits)
    key = (experiment.task.name, repr(experiment.task.options), data_dir, splits)
    if key not in _LAST:
        _LAST.clear()  # those of one task at a time: a set may be large
        _LAST[key] = experiment.load(data_dir, splits)
    return _LAST[key]


def prepare(
    experiment: Experiment, data: Dataset, team: Team = ALONE, parent: nn.Module | None = None
) -> tuple[Trainer, Loader]:
    """Build the trainer and the loader of the training samples.

    Weights are drawn from the seed on the CPU, so that they are the same on every device, and moved; those of spiking
    networks are then scaled on the first batch, unless the configuration keeps them. Runs that differ only in the rule
    start from the same weights and see the same batches.

    Args:
        experiment: what is run.
        data: of its task.
        team: processes that learn together.
        parent: the model of the experiment's parent, whose weights it begins with, which teaches it, or both.

    Raises:
        ValueError: for an encoder that does not fit the samples, tokens or sequences that the model does not take,
            weights of another network, a schedule or an accumulation that does not fit into the run, and what the rule
            refuses: a model, a precision.
    """
    encoder = experiment.encoder.make("encoder")
    check_sequence(encoder, data.sequence)
    if not data.shape and experiment.network.model is None:
        raise ValueError(
            f"task {experiment.task.name!r} has tokens, and layers of neurons take features: name a model that embeds "
            "them, network.model, such as that of experiments/language/gru.py"
        )
    network = experiment.network.make(data.shape, data.outputs, experiment.seed).to(experiment.device)
    heir = experiment.parent
    rule = experiment.make_rule(data, parent if heir is not None and heir.teaches else None)
    if isinstance(rule.objective, SpikeAwareDistillation) and rule.objective.teacher is None:
        raise ValueError(
            "objective 'spad' has no teacher, and would be the cross-entropy alone: name a finished run whose model "
            "teaches, --parent.folder RUN --parent.how teacher, or use objective 'ce_rate'"
        )
    train = Loader(
        data.train,
        encoder,
        experiment.batch_size,
        seed=experiment.seed,
        augment=experiment.augmentation(),
        plain=bool(rule.objective.helpers()),
    )
    inner = core(network)
    if getattr(inner, "classless", False) and rule.objective.teaches:
        raise ValueError(
            f"the outputs of model {experiment.network.model.name!r} stand for no class before learning has found one, "  # type: ignore[union-attr]
            f"and objective {type(rule.objective).__name__} compares them with classes: take a rule without labels, "
            "such as --rule stdp, whose objective is 'assignment', or another model"
        )
    for zoneout in experiment.rule.zoneouts():
        regularise(inner, zoneout)
    first: Batch = next(iter(train))
    binned = experiment.network.rebin
    require_context(network, first, experiment.task.name, binned)
    if heir is not None and heir.bequeaths:
        assert parent is not None
        bequeath(core(parent), inner, heir.folder)
    elif isinstance(inner, Network) and experiment.network.rate is not None and not inner.meant:
        shown = rebin(first.x, binned) if binned > 1 else first.x
        calibrate(inner, moved(shown, experiment.device), experiment.network.rate)
    steps = experiment.epochs * len(train)
    schedule = experiment.make_schedule(steps)
    trainer = Trainer(
        network,
        spanning(rule, steps // experiment.accumulate),
        seed=experiment.seed,
        health=experiment.health,
        confirm=experiment.confirm,
        schedule=schedule,
        clip=experiment.clip,
        accumulate=experiment.accumulate,
        precision=experiment.precision,
        team=team,
    )
    trainer.begin(first)
    return trainer, train


def core(network: nn.Module) -> nn.Module:
    """Return the network inside of noise that it is read with, and of bins of time."""
    inner = network.inner if isinstance(network, NoisyReadout) else network
    return inner.model if isinstance(inner, Rebinned) else inner


def bequeath(parent: nn.Module, network: nn.Module, folder: str) -> None:
    """Copy the weights of a parent into a network; raise ValueError, which names the first that differs."""
    theirs, mine = parent.state_dict(), network.state_dict()
    odd = [name for name in (*theirs, *mine) if _form(theirs.get(name)) != _form(mine.get(name))]
    if odd:
        raise ValueError(
            f"parent {folder} has the weights of another network: {odd[0]} is {_form(theirs.get(odd[0]))}, and here "
            f"{_form(mine.get(odd[0]))}; give the network of the parent, or --parent.how teacher"
        )
    network.load_state_dict(theirs)


def _form(part: Any) -> str:
    return "missing" if part is None else str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__


def require_context(model: nn.Module, batch: Batch, task: str, binned: int = 1) -> None:
    """Raise ValueError for sequences of more steps than a model takes (`rules.optional.context_of`)."""
    most, steps = context_of(core(model)), steps_of(batch.x) // binned
    if most is not None and steps > most:
        raise ValueError(
            f"task {task!r} has sequences of {steps} steps, and the model takes at most {most}: give the "
            f"task context={most}, or the model a context of {steps}"
        )


def spanning(rule: LearningRule, updates: int) -> LearningRule:
    """Return a rule whose plasticity knows how many updates the run has, if it depends on that.

    A rule that learns inside of sequences makes several in each batch, as many as there are windows: it has to be told.
    """
    over = method_of(rule.plasticity, "over")
    return rule if over is None or rule.every is not None else replace(rule, plasticity=over(updates))


def asked(trainer: Trainer) -> dict[str, Any]:
    """Return what the model was asked before its first step, what it answered, and what the rule trains."""
    answers = trainer.answers
    return {
        "confirm": trainer.confirm,
        "answers": None if answers is None else answers.facts(),
        "trains": list(trainer.parameters),
    }


def evaluation(experiment: Experiment, split: Samples, purpose: str = "evaluation") -> Loader:
    """Return a loader of a split, unshuffled and in large batches; noise differs between purposes."""
    encoder = experiment.encoder.make("encoder")
    return Loader(split, encoder, 500, seed=experiment.seed, shuffle=False, purpose=purpose)


@contextmanager
def own_process(experiment: Experiment) -> Iterator[None]:
    """Run a block with its own number of threads, synapses, kernels and global generators, as in a new process.

    Kernels that are "auto" leave the choice as it is: that of a block around, or of SANDBOX_KERNELS.

    A model may draw its initial weights from the global generators of torch, NumPy or Python, so those are seeded from
    the experiment's seed. Everything is restored afterwards, because a worker does one run after another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(experiment.threads)
    try:
        dice = Globals(derived(experiment.seed, "process"))
        with using(experiment.synapses), attempts.loop(experiment), dice.inside():
            yield
    finally:
        torch.set_num_threads(before)
