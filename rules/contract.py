"""The words that every rule and every model share: what goes in, what comes out, what each side needs of the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

NEEDS = {
    "gradient": "autograd reaches every trainable parameter from the model's output",
    "layers": "`model.layers`, each callable alone on a sequence, and `run.traces` when the run is recorded",
    "bits": "hidden layers that put out zeros and ones through rules.Surrogate, whose derivative a rule can draw",
    "labels": "`batch.y`, the class of every sample",
}

REMEDIES = {
    "gradient": "use a rule of the zero-order family, or keep .detach(), round() and no_grad() out of forward",
    "layers": "build the model as an nn.Sequential, or give it `layers`, `offers = frozenset({'gradient', 'layers'})` "
    "and a forward that returns rules.Run(output, carry, traces)",
    "bits": "give every hidden layer rules.StochasticBits() or spiking neurons of sandbox.NEURONS; a model of your own "
    "says so with `offers = frozenset({'gradient', 'layers', 'bits'})`",
    "labels": "let the loader yield (x, y) or rules.Batch(x, y)",
}


class Trace(NamedTuple):
    """What one weight matrix saw, when a run is recorded."""

    weight: str  # parameter name
    pre: Tensor  # [T, B, in]   presynaptic activity
    u: Tensor  # [T, B, out]  membrane minus threshold, before the reset
    post: Tensor  # [T, B, out]  output of the layer


class Run(NamedTuple):
    """What a model returns; a plain tensor is accepted and wrapped."""

    output: Tensor  # [T, B, classes]; a [B, classes] tensor counts as T = 1
    carry: Any = None  # state at the end; hand it back to continue
    traces: tuple[Trace, ...] = ()


class Batch(NamedTuple):
    """What a model is shown; `(x, y)` pairs are accepted and wrapped."""

    x: Tensor  # [T, B, *in]
    y: Tensor | None = None  # [B] class of each sample
    carry: Any = None  # state to continue from


@dataclass(frozen=True)
class Cost:
    """What learning did, counted while it happened.

    `synaptic_operations` are the multiply-accumulates of the forward direction through every `nn.Linear`, convolution
    and `nn.RNN`, `nn.LSTM`, `nn.GRU`, recomputation included; one layer evaluation is one such layer seen by one whole
    batch. Those of the way back are `error_operations`, which carry errors to a layer's inputs, and
    `weight_operations`, which sum what its weights are to do. No zero is skipped. The others are what learning would
    ask of hardware, both directions and the update included.

    >>> (Cost(forwards=1) + Cost(forwards=2, pulses=1)).forwards
    3
    """

    forwards: int = 0
    backwards: int = 0
    layer_evaluations: int = 0
    synaptic_operations: int = 0
    error_operations: int = 0
    weight_operations: int = 0
    neuron_steps: int = 0  # numbers that weight matrices put out going forward, each a step of a neuron
    multiplications: int = 0  # multiply-accumulates of numbers of more than one bit
    dac_conversions: int = 0  # numbers that enter a weight matrix, at either end, as an analogue signal
    adc_conversions: int = 0  # numbers that leave it and are read with more than one bit
    one_bit_reads: int = 0  # accumulations of a weight for a signal in {0, 1} or {-1, 0, 1} that is not 0
    comparisons: int = 0  # comparators asked for a bit or a sign
    random_bits: int = 0  # Bernoulli draws
    pulses: int = 0  # written to devices
    bytes_communicated: int = 0  # handed to `torch.distributed` by this process

    def __add__(self, other: Cost) -> Cost:
        mine, theirs = asdict(self), asdict(other)
        return Cost(**{name: mine[name] + theirs[name] for name in mine})


class Credit(NamedTuple):
    """What a credit rule hands back; nothing has been changed yet."""

    grads: dict[str, Tensor]  # parameter name -> what a minimiser subtracts; absent = no opinion
    state: Any  # the rule's own next state
    loss: float
    cost: Cost
    carry: Any = None
    info: dict[str, float] = {}  # noqa: RUF012 -- never written to


class Objective(ABC):
    """What should get better: a frozen dataclass (or an nn.Module where it owns a projection head).

    Parameters of its own are learned beside the model's, under names that begin with `objective.`.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def views(self, batch: Batch, rng: torch.Generator) -> Batch:
        """The batch the model is to see; Siamese objectives stack views along B."""
        return batch

    def scores(self, run: Run) -> Tensor:
        """Evidence for each class `[B, classes]`; its largest entry is the model's answer."""
        return run.output.mean(0)

    def module(self) -> nn.Module | None:
        """What it learns or remembers itself, to be trained, saved and resumed; None for a mere formula."""
        return self if isinstance(self, nn.Module) else None

    def advance(self) -> None:
        """Told by the Trainer after every step; for what changes with the number of steps."""
        return

    @abstractmethod
    def __call__(self, run: Run, batch: Batch) -> Tensor:
        """Scalar loss, a mean over the batch."""


def own_parameters(objective: Objective) -> dict[str, nn.Parameter]:
    """The trainable parameters of an objective, by the names that credit gives them."""
    module = objective.module()
    named = {} if module is None else dict(module.named_parameters(prefix="objective"))
    return {name: p for name, p in named.items() if p.requires_grad}


Claim = Literal["exact", "unbiased", "descent", "sign_unbiased", "none"]


class CreditRule(ABC):
    """Who is responsible: a frozen dataclass that looks at a model and changes nothing.

    `claim` is held by tests: `exact` equals autograd, `unbiased` has the right mean and scale, `descent` lowers the
    loss of the batch, `sign_unbiased` has the mean and scale of backpropagation with signed errors, `none` claims
    nothing. `inferences` are the ways in which a model that learned by it can be asked, the default first.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    claim: ClassVar[Claim]
    inferences: ClassVar[tuple[str, ...]] = ("plain",)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters that this rule has an opinion on: every trainable one, unless it says otherwise."""
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def init(self, model: nn.Module) -> Any:
        """The rule's first state."""
        return ()

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """What a model answers when asked in one of `inferences`; `run` runs it."""
        return run(batch)

    @abstractmethod
    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Credit for one batch."""


class Holding(CreditRule):
    """A credit rule that holds another, `credit`, and is as that one is wherever it does not say otherwise."""

    credit: CreditRule

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # those of the rule it holds
        return self.credit.needs

    @property
    def claim(self) -> Claim:  # type: ignore[override]
        return self.credit.claim

    @property
    def inferences(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.credit.inferences

    def infer(self, run: Callable[[Batch], Run], batch: Batch, mode: str, rng: torch.Generator) -> Run:
        """As the held rule says."""
        return self.credit.infer(run, batch, mode, rng)

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Those of the held rule."""
        return self.credit.parameters(model)

    def init(self, model: nn.Module) -> Any:
        """The held rule's first state."""
        return self.credit.init(model)


class MissingNeed(ValueError):
    """A rule asks for what the model or the batch does not offer."""

    def __init__(self, rule: str, model: str, missing: Iterable[str], offered: Iterable[str]) -> None:
        lines = [f"  {need}: {NEEDS[need]}; {REMEDIES[need]}" for need in sorted(missing)]
        has = ", ".join(sorted(offered)) or "nothing"
        super().__init__(f"{rule} needs what {model} does not offer (it offers: {has}):\n" + "\n".join(lines))
