"""The types that every rule and every model share: input, output, and what each side requires of the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.brief import line
from rules.measures import Accuracy, Measure
from rules.steps import mean, rows

NEEDS = {
    "gradient": "autograd reaches every trainable parameter from the model's output",
    "layers": "`model.layers`, each callable alone on a sequence, and `run.traces` when the run is recorded",
    "chain": "`model.layers` are nn.Linear and activations of each unit alone, one after the other (rules.chains)",
    "features": "the input of the read-out at every step, recorded in a pass; of any nn.Module that says nothing else",
    "cells": "layers made of `synapse` and `cells`, whose `neuron` holds the constants of the cells",
    "dendrites": "the last layer's cells have a soma and a dendrite: a state with v and v_dend, and `neuron.predicted`",
    "carry": "`forward(x, carry)` continues a sequence from the carry of its run, and no step looks ahead",
    "internals": "`run.internals`, what the model tells of its inside, such as attention, beside its output",
    "bits": "hidden layers that put out zeros and ones through rules.Surrogate, whose derivative a rule can draw",
    "labels": "`batch.y`, the class of every sample, or `batch.targets`, one of every step",
}

REMEDIES = {
    "gradient": "use a rule of the zero-order family, or keep .detach(), round() and no_grad() out of forward",
    "layers": "build the model as an nn.Sequential, let rules.adapt(model) find its layers, or give it "
    "`layers`, `offers = frozenset({'gradient', 'layers'})` and a forward that "
    "returns rules.Run(output, carry, traces)",
    "chain": "build the model as an nn.Sequential of nn.Linear and activations such as nn.Tanh",
    "features": "give the model a module for its read-out, such as nn.Linear, and `offers = frozenset({'gradient', "
    "'features'})`; or use feature='logits_t', which needs none",
    "cells": "build the model with sandbox.build, or give its layers `synapse`, `cells` and `respond` "
    "(rules.optional.CellLayer), and `offers = frozenset({'gradient', 'layers', 'cells'})`",
    "dendrites": "build the model with sandbox.build(..., readout=sandbox.neurons.TwoCompartment(reset='none')); one "
    "of your own gives its last layer cells as rules.optional.Dendritic says, and `offers` the word 'dendrites'",
    "carry": "let forward(x, carry=None) return rules.Run(output, carry), as the models of sandbox.build do",
    "internals": "let forward return rules.Run(output, carry, internals={'hidden.0': ..., 'attention.0': ...}) and "
    "give the model `offers = frozenset({'gradient', 'internals'})`, as the models of text in sandbox.make_model do",
    "bits": "give every hidden layer rules.StochasticBits() or spiking neurons of sandbox.NEURONS; a model of your own "
    "declares `offers = frozenset({'gradient', 'layers', 'bits'})`",
    "labels": "let the loader yield (x, y) or rules.Batch(x, y); without any label take rules.make('stdp'), or "
    "rules.make('bcpnn', taught=False)",
}


class Trace(NamedTuple):
    """The signals at one weight matrix in a recorded run."""

    weight: str  # parameter name
    pre: Tensor  # [T, B, in]   presynaptic activity
    u: Tensor  # [T, B, out]  membrane minus threshold, before the reset
    post: Tensor  # [T, B, out]  output of the layer


class Local(NamedTuple):
    """One step of cells to first order, cell by cell, with k state variables: each entry is one cell's derivative."""

    kept: Tensor  # [k, k, B, *out]   d state' / d state, the first axis that of state'
    driven: Tensor  # [k, B, *out]  d state' / d current
    shown: Tensor  # [k + 1, B, *out]  d output / d state, and in the last row d output / d current


class Run(NamedTuple):
    """The result of a forward pass; a plain tensor is accepted and wrapped."""

    output: Tensor  # [T, B, classes]; a [B, classes] tensor counts as T = 1
    carry: Any = None  # state at the end; pass it to the next call to continue
    traces: tuple[Trace, ...] = ()
    internals: Mapping[str, Any] = MappingProxyType({})  # what else a model tells, tensors [T, B, ...] by name


class Batch(NamedTuple):
    """The input of a forward pass; what loaders yield is wrapped by `rules.batches.as_batch`."""

    x: Any  # a tensor [T, B, *in], or nested tuples, lists and dicts of tensors, handed to the model as they are
    y: Tensor | None = None  # of each sample: its class [B], a number [B], or several [B, k]
    carry: Any = None  # state to continue from: all that belongs to these samples, a rule's traces included
    targets: Tensor | None = None  # of each step: its class [T, B], a number or reward [T, B], or several [T, B, k]
    lengths: Tensor | None = None  # [B] number of steps that count, from the first; None for all
    plain: Any = None  # x as it was before augmentation, for a teacher; None where that is x


@dataclass(frozen=True)
class Cost:
    """The cost of learning, counted as it happens.

    `synaptic_operations` are the multiply-accumulates of the forward direction, recomputation included: of every
    `nn.Linear`, convolution, `nn.RNN`, `nn.LSTM`, `nn.GRU` and `rules.Product`, and of matrix products, convolutions
    and attention outside of modules. One layer evaluation is one layer with weights applied to one whole batch. The
    backward direction has `error_operations`, which carry errors to a layer's inputs, and `weight_operations`, which
    sum the changes of its weights, whether autograd or the rule itself forms them. Multiplications by zero are counted
    too. All counts are those of the rule as it is defined, which is what a chip would have to do; where the same
    numbers are found with fewer layer evaluations, those are `layer_evaluations_done`. The remaining fields are what
    learning would require of hardware, in both directions and for the update.

    >>> (Cost(forwards=1) + Cost(forwards=2, pulses=1)).forwards
    3
    """

    forwards: int = 0
    backwards: int = 0
    layer_evaluations: int = 0
    synaptic_operations: int = 0
    error_operations: int = 0
    weight_operations: int = 0
    neuron_steps: int = 0  # outputs of weight matrices in the forward direction, each one step of a neuron
    multiplications: int = 0  # multiply-accumulates of numbers of more than one bit
    dac_conversions: int = 0  # numbers that enter a weight matrix, at either end, as an analogue signal
    adc_conversions: int = 0  # numbers that leave it and are read with more than one bit
    one_bit_reads: int = 0  # accumulations of a weight for a nonzero signal in {0, 1} or {-1, 0, 1}
    comparisons: int = 0  # evaluations of a comparator, for a bit or a sign
    random_bits: int = 0  # Bernoulli draws
    gaussian_draws: int = 0  # normal numbers of perturbations; one that is drawn again from its seed counts once
    pulses: int = 0  # pulses written to devices
    bytes_communicated: int = 0  # sent through `torch.distributed` by this process
    trace_bytes: int = 0  # of traces that a rule holds for the batch between two steps: the most at once, not a sum
    layer_evaluations_done: int = -1  # of the layer evaluations, those that were computed; -1 for as many

    def __post_init__(self) -> None:
        if self.layer_evaluations_done < 0:
            object.__setattr__(self, "layer_evaluations_done", self.layer_evaluations)

    @property
    def operations(self) -> int:
        """Multiply-accumulates in both directions: forward, for errors and for weights."""
        return self.synaptic_operations + self.error_operations + self.weight_operations

    def __repr__(self) -> str:
        """Return the counts that are not 0, and layer evaluations that were done if they are others than was asked."""
        return line("Cost", vars(self), {**vars(type(self)), "layer_evaluations_done": self.layer_evaluations})

    def __add__(self, other: Cost) -> Cost:
        mine, theirs = vars(self), vars(other)
        most = max(self.trace_bytes, other.trace_bytes)
        return Cost(**{**{name: mine[name] + theirs[name] for name in mine}, "trace_bytes": most})


class Credit(NamedTuple):
    """The result of a credit rule; nothing has been changed yet."""

    grads: dict[str, Tensor]  # parameter name -> what a minimiser subtracts; absent = not updated by this rule
    state: Any  # the rule's own next state
    loss: float
    cost: Cost
    carry: Any = None
    info: dict[str, float] = {}  # noqa: RUF012 -- never written to
    findings: tuple[Any, ...] = ()  # rules.diagnostics.Finding: what the rule saw that keeps it from learning

    def __repr__(self) -> str:
        return line("Credit", self._asdict(), self._field_defaults)


class Objective(ABC):
    """The loss to minimise: a frozen dataclass, or an nn.Module if it has parameters such as a projection head.

    Its own parameters are learned with the model's, under names that begin with `objective.`. `timing` is "step" if the
    loss is a sum over steps of a loss of each, which sees the output of that step alone: only from such a loss can a
    rule learn before the sequence has ended.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    timing: ClassVar[Literal["sequence", "step"]] = "sequence"
    teaches: ClassVar[bool] = True  # False for one that only judges what was learned without it

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        """Return the function that gives what some steps add to the loss of a whole batch; for `timing` "step" alone.

        The function takes a run and a batch of some consecutive steps. Over disjoint pieces its values add up to the
        loss of the whole. By default the loss is a mean over steps that all count alike.

        Raises:
            ValueError: for an objective whose loss is not a sum over steps.
        """
        require_steps(self)
        whole = steps_of(batch.x)
        return lambda run, part: self(run, part) * (len(run.output) / whole)

    def extent(self, batch: Batch) -> float:
        """Return which part of a whole sequence the steps of a batch are: 1, or less if it is a window of one."""
        return 1.0

    def amount(self, batch: Batch) -> float:
        """Return how many answers the loss is a mean over: the samples by default, 1 where a batch has no answers.

        It is how much a batch counts beside others whose gradients make one update.
        """
        if batch.y is not None:
            return float(len(batch.y))
        return 1.0 if batch.targets is None else float(batch.targets.shape[1])

    def each(self, run: Run, batch: Batch) -> Tensor | None:
        """Return the loss of every sample alone, `[B]`, if that is faster than one call for each; None otherwise.

        It is used only if it is defined in the class that defines `__call__`.
        """
        return None

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return the batch that the model sees; Siamese objectives stack views along B."""
        return batch

    def examined(self, batch: Batch, rng: torch.Generator) -> Batch:
        """Return the batch whose loss an evaluation reports: by default the views of learning."""
        return self.views(batch, rng)

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        """Return the evidence for each class, `[B, classes]`; the largest entry is the predicted class.

        `lengths [B]` are the numbers of steps that count; it is given only where sequences have different lengths.
        """
        return mean(run.output, lengths)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the answers of a run and what would be right, one row each, for `measure`.

        By default the scores and `batch.y`; where there is no y, every step that counts and its target. An objective
        without labels, such as one that compares pairs, says here what would be right.

        Raises:
            ValueError: by default, for a batch without labels.
        """
        if batch.y is None and batch.targets is not None:
            return rows(run.output, batch.lengths), rows(batch.targets, batch.lengths)
        if batch.y is None:
            raise ValueError(
                "evaluate needs labels: let the loader yield (x, y), or let the objective say what is right without "
                f"them: def answers(self, run, batch) of {type(self).__name__} returns rows and the class of each"
            )
        lengths = lengths_of(run, batch)
        return (self.scores(run) if lengths is None else self.scores(run, lengths)), batch.y

    def measure(self) -> Measure:
        """Return a new measure of the answers: by default the accuracy, where truths are classes, otherwise nothing."""
        return Accuracy()

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the loss that an evaluation reports, a scalar: by default the one that is learned from.

        An objective whose loss costs more than the pass, such as one that compares all samples with each other, reports
        a part that does not, and says so.
        """
        return self(run, batch)

    def module(self) -> nn.Module | None:
        """Return the module whose state is trained, saved and resumed; None for an objective without state."""
        return self if isinstance(self, nn.Module) else None

    def helpers(self) -> tuple[nn.Module, ...]:
        """Return modules that the loss runs and nothing trains, such as a teacher: their work is counted."""
        return ()

    def advance(self) -> None:
        """Count one training step; the Trainer calls this after every step, for schedules such as a warm-up."""
        return

    def remark(self) -> str | None:
        """Return what the batches since the last call should tell the user, or None; asked after each epoch."""
        return None

    @abstractmethod
    def __call__(self, run: Run, batch: Batch) -> Tensor:
        """Return the loss, a scalar: a mean over the batch."""


class SeesAhead(ValueError):
    """Raised for an objective whose loss is known only when a sequence has ended, where one of each step is needed."""


def require_steps(objective: Objective, why: str = "") -> None:
    """Raise SeesAhead for an objective whose loss is known only when a sequence has ended; `why` begins the message."""
    if objective.timing != "step":
        raise SeesAhead(
            f"{why}{type(objective).__name__} sees the whole sequence, and to learn inside of it takes a loss of each "
            'step: objective="ce_rate" or objective="tet" for classes, rules.OBJECTIVES["mse"](at="step") for numbers'
        )


def steps_of(x: Any) -> int:
    """Return the number of steps of an input, which may be nested."""
    while not isinstance(x, Tensor):
        x = next(iter(x.values())) if isinstance(x, dict) else x[0]
    return len(x)


def lengths_of(run: Run, batch: Batch) -> Tensor | None:
    """Return how many steps of a run's output count, `[B]`: those of the batch, or as many bins as they reach into.

    An output with fewer steps than its input, whose number divides theirs, has bins of several steps.

    >>> whole = Batch(torch.zeros(6, 2, 1), lengths=torch.tensor([4, 5]))
    >>> lengths_of(Run(torch.zeros(6, 2, 3)), whole).tolist(), lengths_of(Run(torch.zeros(3, 2, 3)), whole).tolist()
    ([4, 5], [2, 3])
    """
    if batch.lengths is None:
        return None
    steps, bins = steps_of(batch.x), len(run.output)
    return batch.lengths if bins >= steps or steps % bins else -(-batch.lengths // (steps // bins))


def own_parameters(objective: Objective) -> dict[str, nn.Parameter]:
    """Return the trainable parameters of an objective, by the names used in `Credit.grads`."""
    module = objective.module()
    named = {} if module is None else dict(module.named_parameters(prefix="objective"))
    return {name: p for name, p in named.items() if p.requires_grad}


OverProcesses = Literal["mean", "sum", "draws"]
Continues = Literal["no", "pass", "state", "traces"]
Claim = Literal["exact", "unbiased", "descent", "sign_unbiased", "none"]

ANSWERS = {
    "stateless": "a pass does not depend on the passes before it",
    "deterministic": "two passes on the same input give the same output",
    "input": "a pass does not change its input in place",
    "independent": "the output of a sample depends on that sample alone",
}


DETACHMENTS = {
    "recurrent_spikes": "what the cells of a layer hear of each other",
    "reset": "how a spike acts on its own cell",
    "upper_membrane": "how a layer acts on the later steps of the layers above it",
    "past": "how a step acts on the state of later ones",
}


class CreditRule(ABC):
    """Credit assignment, how each parameter should change: a frozen dataclass that leaves the model unchanged.

    `claim` is verified by tests: `exact` equals autograd, `unbiased` has the right mean and scale, `descent` lowers
    the loss of the batch, `sign_unbiased` has the mean and scale of backpropagation with signed errors, `none` claims
    nothing. `inferences` are the modes in which a trained model can be evaluated, the default first. `relies_on` are
    keys of ANSWERS: what must be true of a model, or the rule is wrong and must refuse it. `over_processes` says how
    the processes of a `rules.Team` share a step: the credit of the batch is the "mean" of those of its shares, weighted
    by samples, or their "sum"; by "draws" each process takes the whole batch, and the rule divides what it draws.
    `continues` says what the carry of a `Credit` holds: nothing ("no"); nothing, or the model's state, but every pass
    begins at the carry of the batch ("pass"); the model's state, with credit cut between windows ("state"); or also the
    rule's traces, so that the credits of windows add up to that of the whole where the weights stand still ("traces").
    What belongs to the samples travels in the carry, and a batch without one is a new sequence; what belongs to the
    model, such as feedback weights, is the rule's state. `detaches` names what the credit leaves out of the gradient
    (keys of DETACHMENTS): `exact` then means autograd on the graph without it.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    claim: ClassVar[Claim]
    inferences: ClassVar[tuple[str, ...]] = ("plain",)
    relies_on: ClassVar[frozenset[str]] = frozenset()
    rounds: ClassVar[bool] = False  # whether passes may be made in bfloat16
    over_processes: ClassVar[OverProcesses] = "mean"
    continues: ClassVar[Continues] = "no"
    timing: ClassVar[Literal["sequence", "step"]] = "sequence"  # "step": it needs an objective of that timing
    passes_back: ClassVar[bool] = False  # whether errors go down through synapses by autograd
    asks: ClassVar[bool] = True  # whether it asks the objective; one that does not needs nothing of it, such as labels
    detaches: ClassVar[frozenset[str]] = frozenset()

    def located(self, model: nn.Module, batch: Batch) -> CreditRule:
        """Return this rule, with the parts of the model that it refers to found by a pass on a batch."""
        return self

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Raise ValueError for a model on which this rule would be wrong; asked before the first step."""
        return

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective that would have no effect; asked when a `LearningRule` is made."""
        return

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that this rule updates, by name; every trainable one by default."""
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return the rule's initial state, drawn from `rng` where it is random, so that it follows the run's seed."""
        return ()

    def runs(self, model: nn.Module) -> Callable[[Batch], Run] | None:
        """Return how this rule runs a model in an evaluation; None, by default, for the model's own forward pass.

        A rule whose network is not the forward pass, such as one that settles, says here what it is.
        """
        return None

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """Run the model in one of the modes of `inferences`.

        Args:
            run: runs the model on a batch.
            batch: the input.
            mode: a member of `inferences`.
            rng: source of every random draw.
        """
        return run(batch)

    @abstractmethod
    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the credit for one batch, without changing anything.

        Args:
            model: the model to be trained.
            objective: the loss.
            batch: the input, and its labels if the objective needs them.
            state: the rule's state, from `init` or from the last `Credit`.
            rng: source of every random draw.
        """


class Holding(CreditRule):
    """A credit rule that wraps another, `credit`, and delegates to it whatever it does not override."""

    credit: CreditRule

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # those of the wrapped rule
        return self.credit.needs

    @property
    def claim(self) -> Claim:  # type: ignore[override]
        return self.credit.claim

    @property
    def inferences(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.credit.inferences

    def runs(self, model: nn.Module) -> Callable[[Batch], Run] | None:
        """Return how the wrapped rule runs a model."""
        return self.credit.runs(model)

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """Run the model as the wrapped rule does."""
        return self.credit.infer(run, batch, mode, rng)

    @property
    def relies_on(self) -> frozenset[str]:  # type: ignore[override]
        return self.credit.relies_on

    @property
    def rounds(self) -> bool:  # type: ignore[override]
        return self.credit.rounds

    @property
    def over_processes(self) -> OverProcesses:  # type: ignore[override]
        return self.credit.over_processes

    @property
    def continues(self) -> Continues:  # type: ignore[override]
        return self.credit.continues

    @property
    def timing(self) -> Literal["sequence", "step"]:  # type: ignore[override]
        return self.credit.timing

    @property
    def passes_back(self) -> bool:  # type: ignore[override]
        return self.credit.passes_back

    @property
    def asks(self) -> bool:  # type: ignore[override]
        return self.credit.asks

    @property
    def detaches(self) -> frozenset[str]:  # type: ignore[override]
        return self.credit.detaches

    def located(self, model: nn.Module, batch: Batch) -> CreditRule:
        """Return this rule around the located one."""
        inner = self.credit.located(model, batch)
        return self if inner is self.credit else replace(self, credit=inner)  # type: ignore[type-var]

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """Ask the wrapped rule."""
        self.credit.confirm(model, batch)

    def suits(self, objective: Objective) -> None:
        """Ask the wrapped rule."""
        self.credit.suits(objective)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters of the wrapped rule."""
        return self.credit.parameters(model)

    def init(self, model: nn.Module, rng: torch.Generator) -> Any:
        """Return the initial state of the wrapped rule."""
        return self.credit.init(model, rng)


class MissingNeed(ValueError):
    """Raised when a rule needs something that the model or the batch does not offer."""

    def __init__(
        self,
        rule: str,
        model: str,
        missing: Iterable[str],
        offered: Iterable[str],
        reasons: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        lines = [f"  {need}: {NEEDS[need]}; {reasons.get(need, REMEDIES[need])}" for need in sorted(missing)]
        has = ", ".join(sorted(offered)) or "nothing"
        super().__init__(f"{rule} needs what {model} does not offer (it offers: {has}):\n" + "\n".join(lines))
