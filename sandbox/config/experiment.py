"""What an experiment is: one frozen dataclass, read from YAML, from which everything else is built."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from rules.diagnostics.monitor import Health
from rules.objectives import Sum
from rules.recipes import LearningRule
from rules.views import View
from sandbox.config.identity import _said, fingerprint
from sandbox.config.registry import Choice
from sandbox.microscope import Microscope
from sandbox.networks.build import build
from sandbox.networks.noisy import NoisyReadout
from sandbox.neurons import Neuron
from sandbox.tasks.base import Task


@dataclass(frozen=True)
class NetworkConfig:
    """Layers, neurons and the firing probability per step that the initial weights are scaled to; or a `model`.

    A model is a maker `(shape, classes, *, seed, ...)`, and says itself what it is made of: nothing else is given then
    but `readout_noise`, the standard deviation with which its signals are read (`sandbox.networks.noisy`).

    >>> NetworkConfig(model=Choice("perceptron", {"hidden": [8]})).make((4,), 3, seed=0)[-1]
    Linear(in_features=8, out_features=3, bias=True)
    """

    hidden: list[int | str] = field(default_factory=lambda: [30])
    neuron: Choice = Choice("lif", {"tau_mem": 5.0})
    readout: Choice = Choice("leaky_integrator", {"tau_mem": 5.0})
    dt: float = 1.0  # [ms]
    rate: float = 0.4
    model: Choice | None = None
    readout_noise: float = 0.0

    def __post_init__(self) -> None:
        said = [name for name in _said(self) if name not in ("model", "readout_noise")]
        if self.model is not None and said:
            raise ValueError(
                f"network.model={self.model.name!r} says itself what it is made of: leave out "
                f"{', '.join(said)}, or give what the model takes as model.options"
            )

    def make(self, shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
        """The network, with weights drawn from the seed."""
        if self.model is None:
            network: nn.Module = build(shape, classes, self.hidden, *self.neurons(), self.dt, seed)
        else:
            network = self.model.make("model", shape=shape, classes=classes, seed=seed)
        return NoisyReadout(network, self.readout_noise, seed=seed) if self.readout_noise else network

    def neurons(self) -> tuple[Neuron, Neuron]:
        """The hidden neuron and the read-out neuron."""
        return self.neuron.make("neuron"), self.readout.make("neuron")


@dataclass(frozen=True)
class RuleConfig:
    """A named rule with options; `objective`, `credit` and `plasticity` replace its parts where given.

    `regularisers` are added to the objective. In a comparison, `label` is what the rule is called, and `epochs` stands
    in place of the experiment's, so that rules can be compared at equal cost.

    >>> sorted(RuleConfig("bptt", regularisers=[Choice("rate_l1", {"weight": 0.1})]).make().needs)
    ['gradient', 'labels', 'layers']
    """

    name: str = "bptt"
    options: dict[str, Any] = field(default_factory=dict)
    objective: Choice | None = None
    credit: Choice | None = None
    plasticity: Choice | None = None
    regularisers: list[Choice] = field(default_factory=list)
    epochs: int | None = None
    label: str | None = None

    def make(self) -> LearningRule:
        """Build the rule."""
        rule: LearningRule = Choice(self.name, self.options).make("rule")
        parts = {kind: getattr(self, kind) for kind in ("objective", "credit", "plasticity")}
        rule = replace(rule, **{kind: choice.make(kind) for kind, choice in parts.items() if choice is not None})
        penalties = tuple(choice.make("regulariser") for choice in self.regularisers)
        return replace(rule, objective=Sum((rule.objective, *penalties))) if penalties else rule


@dataclass(frozen=True)
class MicroscopeConfig:
    """Look at the rule's credit `every` so many steps, beside each reference, `draws` times where it throws dice.

    References are named as `sandbox list references` does, or have a name and options.

    >>> MicroscopeConfig(every=50, references=["bptt", Choice("bptt", {"window": 5})]).make().every
    50
    """

    every: int = 100
    references: list[Choice | str] = field(default_factory=lambda: ["bptt"])
    draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        self.make()

    def make(self) -> Microscope:
        """Build the microscope; ValueError for what it would refuse."""
        choices = [Choice(name) if isinstance(name, str) else name for name in self.references]
        made = tuple(choice.make("reference") for choice in choices)
        return Microscope(self.every, made, self.draws, self.seed)


@dataclass(frozen=True)
class Experiment:
    """One run: task x network x neuron x rule x seed; a microscope watches and changes nothing.

    >>> Experiment(seed=3).identity == Experiment(seed=3).identity != Experiment(seed=4).identity
    True
    """

    task: Choice = Choice("yinyang")
    encoder: Choice = Choice("constant", {"steps": 20})
    augment: Choice | None = None  # a pair of rules.views, whose first view every training sample is seen through
    network: NetworkConfig = field(default_factory=NetworkConfig)
    rule: RuleConfig = field(default_factory=RuleConfig)
    seed: int = 0
    epochs: int = 30
    batch_size: int = 50
    checkpoint_steps: int = 200  # also written at the end of every epoch
    threads: int = 1  # of torch, fixed because the order of sums depends on it
    synapses: str = "dense"  # or "events": how they weigh their input, fixed for the same reason
    microscope: MicroscopeConfig | None = None  # what the rule tells each layer, beside gradients
    health: Health | None = None  # when it is looked at, what counts as ill, and what the run stops for

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
        if self.synapses not in ("dense", "events"):
            raise ValueError(
                f"synapses={self.synapses!r}: give 'dense' or 'events'; 'auto' goes by timings, and "
                "no run could be repeated bit for bit"
            )
        if self.rule.epochs is not None:
            raise ValueError(
                f"rule.epochs={self.rule.epochs}: rules bring epochs of their own to a comparison only; set epochs"
            )

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration; equal only for equal configurations."""
        return f"{self.task.name}-{self.rule.name}-s{self.seed}-{fingerprint(self)}".replace(":", ".")

    def make_task(self) -> Task:
        """Build the task."""
        task: Task = self.task.make("task")
        return task

    def augmentation(self) -> View | None:
        """The view through which training samples are seen, None for none."""
        return None if self.augment is None else self.augment.make("views")[0]
