"""What an experiment is: one frozen dataclass, read from YAML, from which everything else is built."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import nn

from rules.diagnostics.monitor import Health
from rules.errors import unknown
from rules.fields import check_fields
from rules.options import require_taken
from rules.preparing import PRECISIONS
from rules.recipes import LearningRule
from rules.schedules import Schedule
from rules.updates import Updates
from rules.views import View
from sandbox.config.given import CHECKSUM, Given, choice_of
from sandbox.config.identity import changed, digest, fingerprint, folder_name
from sandbox.config.losses import BY_STEP, answers_of, require_rewards
from sandbox.config.microscope import MicroscopeConfig
from sandbox.config.parent import Parent
from sandbox.config.registry import Choice, find
from sandbox.config.rule import RuleConfig
from sandbox.kernels.choice import MODES as KERNELS
from sandbox.machine import devices
from sandbox.networks.build import build
from sandbox.networks.noisy import NoisyReadout
from sandbox.networks.rebinned import Rebinned
from sandbox.neurons import Neuron
from sandbox.tasks.base import SPLITS, Dataset, Task
from sandbox.tasks.checked import checked

MOST_UNITS = 10_000_000  # of a layer, and samples of a batch
GIVEN = ("shape", "classes", "seed")  # what every model is made from
NOWHERE = "-"  # the folder of a parent that is known by its weights, in an identity
MOST_THREADS = 1024  # a number that every system can start; runs go from machine to machine with it


@dataclass(frozen=True)
class NetworkConfig:
    """Layers of neurons, or a `model` that brings its own.

    Args:
        hidden: units of each hidden layer; '30r' is a recurrent one, and `sandbox.build` describes convolutions.
        neuron: the neuron of hidden layers.
        readout: the neuron of the last layer.
        dt: time step [ms].
        rate: firing probability per step that initial weights are scaled to; None keeps them as drawn.
        model: a function `(shape, classes, *, seed, ...)` that returns a module, by name or as
            path/to/file.py:function; the other settings then stay away, but for `rate: null`.
        readout_noise: standard deviation with which signals are read (`sandbox.NoisyReadout`).
        rebin: steps of the task that are summed to one of the network (`sandbox.networks.rebinned`); `dt` is that of
            the sums.

    Raises:
        ValueError: for a model together with settings of layers.

    >>> NetworkConfig(model=Choice("perceptron", {"hidden": [8]})).make((4,), 3, seed=0)[-1]
    Linear(in_features=8, out_features=3, bias=True)
    """

    hidden: list[int | str] = field(default_factory=lambda: [30])
    neuron: Choice = Choice("lif", {"tau_mem": 5.0})
    readout: Choice = Choice("leaky_integrator", {"tau_mem": 5.0})
    dt: float = 1.0
    rate: float | None = 0.4
    model: Choice | None = None
    readout_noise: float = 0.0
    rebin: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        for number, layer in enumerate(self.hidden):
            if isinstance(layer, int) and not 1 <= layer <= MOST_UNITS:
                raise ValueError(f"hidden[{number}]={layer}: give at most {MOST_UNITS} units, and at least 1")
        if not self.dt > 0:
            raise ValueError(f"dt={self.dt}: give a time step in ms, above 0")
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ValueError(
                f"rate={self.rate}: give a firing probability per step, above 0 and at most 1, or null to scale nothing"
            )
        if not self.readout_noise >= 0:
            raise ValueError(f"readout_noise={self.readout_noise}: give a standard deviation, at least 0")
        if self.rebin < 1:
            raise ValueError(f"rebin={self.rebin}: give the number of steps that are summed to one, at least 1")
        kept = {"model", "readout_noise", "rebin", *(["rate"] if self.rate is None else [])}
        given = [name for name in changed(self) if name not in kept]
        if self.model is not None and given:
            raise ValueError(
                f"network.model={self.model.name!r} brings its own layers: leave out {', '.join(given)}, or give what "
                "the model takes as model.options"
            )

    def make(self, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        """Return the network, with weights drawn from the seed."""
        if self.model is None:
            network: nn.Module = build(shape, classes, self.hidden, *self.neurons(), self.dt, seed)
        else:
            network = self.model.make("model", shape=shape, classes=classes, seed=seed)
        network = Rebinned(network, self.rebin) if self.rebin > 1 else network
        return NoisyReadout(network, self.readout_noise, seed=seed) if self.readout_noise else network

    def neurons(self) -> tuple[Neuron, Neuron]:
        """Return the hidden neuron and the read-out neuron."""
        return self.neuron.make("neuron"), self.readout.make("neuron")


@dataclass(frozen=True)
class Experiment:
    """One run: task x network x neuron x rule x seed.

    Args:
        task: a name of `sandbox list tasks`, or a task of your own as path/to/file.py:Name. In Python also a task
            itself, such as `Task.from_arrays(x, y)`, or a class of tasks.
        encoder: how samples become sequences.
        augment: a pair of views, through the first of which every training sample is seen.
        network: layers and neurons, or a model.
        rule: the learning rule.
        seed: seed of weights, order of samples, devices and everything else that is random.
        epochs: passes over the training samples.
        batch_size: samples of a step.
        checkpoint_steps: steps from one checkpoint to the next; there is one at the end of every epoch, too.
        threads: of torch, fixed because the order of sums depends on it.
        synapses: 'dense', 'events', or the density below which products go by events, such as 0.2; fixed for the same
            reason.
        kernels: the loop over time steps: 'numba', 'triton', 'plain', or 'auto', which asks SANDBOX_KERNELS, and takes
            kernels where they can run. What it came to is kept in the folder: their sums differ in the last bit.
        microscope: looks at what the rule tells each layer, beside gradients; it changes nothing.
        health: when health is looked at, what counts as ill, and what the run stops for.
        confirm: ask the model before its first step whether it keeps state, mixes samples, or takes them for time.
        device: where the network runs: 'cpu', 'cuda' or 'cuda:1'. Random numbers are the same on each of them.
        schedule: of the learning rate; None keeps it. A cosine without `updates` lasts as long as the run.
        clip: largest norm of all gradients together; None for no bound.
        precision: 'full', or 'bf16' for passes in which matrix products are rounded to bfloat16.
        accumulate: steps whose mean gradient makes one update of the weights.
        parent: a finished run to begin from; None to begin anew.
        keep: which weights the run is tested with, and hands on at its end: 'last', those of the last epoch, or 'best',
            those of the first epoch that was best on validation data.

    Raises:
        ValueError: for a number out of range, an unknown device or precision, or a way of weighing input that depends
            on timings.

    >>> Experiment(seed=3).identity == Experiment(seed=3).identity != Experiment(seed=4).identity
    True
    """

    task: Choice = Choice("yinyang")
    encoder: Choice = Choice("constant", {"steps": 20})
    augment: Choice | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    seed: int = 0
    epochs: int = 30
    batch_size: int = 50
    checkpoint_steps: int = 200
    threads: int = 1
    synapses: float | str = "dense"
    microscope: MicroscopeConfig | None = None
    health: Health | None = None
    confirm: bool = True
    device: str = "cpu"
    schedule: Choice | None = None
    clip: float | None = None
    precision: str = "full"
    accumulate: int = 1
    kernels: str = "auto"
    parent: Parent | None = None
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", choice_of(self.task))
        check_fields(self)
        for name in ("epochs", "batch_size", "checkpoint_steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
        if self.batch_size > MOST_UNITS:
            raise ValueError(f"batch_size={self.batch_size}: give at most {MOST_UNITS} samples")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: give a whole number of at most 63 bits, at least 0")
        if self.threads > MOST_THREADS:
            raise ValueError(
                f"threads={self.threads}: give at most {MOST_THREADS}; this machine has {os.cpu_count()} processors"
            )
        if self.synapses not in ("dense", "events") and not (
            isinstance(self.synapses, (int, float)) and 0 <= self.synapses <= 1
        ):
            raise ValueError(
                f"synapses={self.synapses!r}: give 'dense', 'events', or a density from 0 to 1; 'auto' goes by "
                "timings, and no run could be repeated bit for bit"
            )
        if self.kernels not in KERNELS:
            raise unknown("mode of the kernels", self.kernels, KERNELS)
        devices.check_name(self.device)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        Updates(None, self.clip, self.accumulate)  # raises for a number out of range
        if self.rule.epochs is not None:
            raise ValueError(
                f"rule.epochs={self.rule.epochs}: rules bring epochs of their own to a comparison only; set epochs"
            )
        if self.rule.readout is not None:
            raise ValueError(
                "rule.readout: rules bring a read-out of their own to a comparison only; set network.readout"
            )
        if self.rule.searched:
            raise ValueError("rule.searched: a run has the options of one search; give searches to a comparison")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the configuration; the label is in the name and not in the hash."""
        about = f"{self.task.name}-{self.rule.title}-s{self.seed}"
        return folder_name(about.replace(" ", "_"), self.digest[:8])

    @property
    def digest(self) -> str:
        """The whole hash of the configuration, without its label: the identity ends with its first eight digits."""
        parent = self.parent
        if parent is not None and parent.sha256 is not None:  # wherever its folder is
            parent = replace(parent, folder=NOWHERE)
        return digest(replace(self, rule=replace(self.rule, label=None), parent=parent))

    @property
    def setting(self) -> str:
        """A hash of what a rule learns on and how long, without the rule and the seed: what tuning was for."""
        parts = (self.task, self.encoder, self.augment, self.network, self.schedule)
        return fingerprint([*parts, self.epochs, self.batch_size, self.accumulate, self.clip, self.precision])

    def check(self) -> None:
        """Raise ValueError for a misspelt name or option, or a device that is not here, before anything is written."""
        devices.require(self.device)
        self.make_task()
        self.encoder.make("encoder")
        self.augmentation()
        self.rule.make(BY_STEP)  # a loss that suits is found with the data
        if self.parent is not None and self.parent.teaches:
            self.rule.require_teachable()
        self.find_schedule()
        if self.network.model is None:
            self.network.neurons()
        else:
            name = self.network.model.name
            require_taken("model", name, find("model", name), GIVEN)

    def make_task(self) -> Task:
        """Build the task; raises ValueError for one that was given as arrays which are not here."""
        if CHECKSUM in self.task.options and not isinstance(self.task, Given) and ":" not in self.task.name:
            raise ValueError(
                f"the arrays of task {self.task.name!r} are not here: they were given from Python, and their file, "
                f"arrays-{self.task.options[CHECKSUM][:12]}.pt, is gone; give them again, as in "
                "sandbox.Experiment(task=sandbox.Task.from_arrays(x, y))"
            )
        task: Task = self.task.make("task")
        return task

    def load(self, data_dir: str | None = None, splits: Sequence[str] = SPLITS) -> Dataset:
        """Load the data of the task and check these splits; raises ValueError if they cannot be learned from."""
        try:
            return checked(self.make_task().load(data_dir), self.task.name, splits)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"task {self.task.name!r}: {error}") from error

    def make_rule(self, data: Dataset, teacher: nn.Module | None = None) -> LearningRule:
        """Build the rule; its loss, unless the configuration names one, suits the answers of the data.

        That is cross-entropy of the mean output for a class of each sample, at every step for one of each step, the
        mean squared error for values, and the cross-entropy of each label where there are several; of every step, where
        the rule learns inside of a sequence.

        Args:
            data: of the task.
            teacher: of the objective, which must take one; None for none.

        Raises:
            ValueError: for a loss of the whole sequence in a rule that learns inside of it, for values where a rule
                learns from rewards, and for a teacher that the objective does not take.
        """
        rule = self.rule.make(answers_of(data), teacher)
        require_rewards(rule, data, self.task.name)
        return rule

    def make_schedule(self, steps: int) -> Schedule | None:
        """Build the schedule for a run of so many steps; None for none.

        Raises:
            ValueError: for fewer steps than one update takes, and for a schedule that does not fit into the run.
        """
        if steps < self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate}: the run has {steps} steps, which make no update of the weights; set "
                f"accumulate to at most {steps}, or raise epochs"
            )
        found = self.find_schedule()
        return None if found is None else found.over(steps // self.accumulate)

    def find_schedule(self) -> Schedule | None:
        """Return the schedule, whose length may be open; None for none."""
        if self.schedule is None:
            return None
        found = self.schedule.make("schedule")
        if not isinstance(found, Schedule):
            raise ValueError(
                f"schedule {self.schedule.name!r} is a {type(found).__name__}; name a subclass of rules.Schedule, "
                "with factor(self, update) -> float"
            )
        return found

    def augmentation(self) -> View | None:
        """Return the view through which training samples are seen, None for none."""
        return None if self.augment is None else self.augment.make("views")[0]
