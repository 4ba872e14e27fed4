"""The named rules, each composed of an objective, a credit rule and a plasticity.

Options that several recipes share: `lr`, the learning rate; `momentum` of SGD; `weight_decay`, decoupled, of Adam;
`objective`, a name in `OBJECTIVES` or an objective; `surrogate`, which replaces every neuron's own; `every`, of all
recipes, the time steps between two updates of the weights (see `LearningRule`). Further keyword arguments are fields of
the credit rule or objective that the decorator `also_takes` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import nn

from rules.contract import CreditRule, Objective, require_steps
from rules.credit.binary_stochastic.rule import BinaryStochastic
from rules.credit.bptt import BPTT
from rules.credit.dropout import Dropout
from rules.credit.feedback.rule import Feedback, Recurrent
from rules.credit.restricted import Restricted
from rules.credit.zero_order import (
    HZO,
    SPSA,
    CoordinateWise,
    EvolutionStrategy,
    ForwardGradient,
    LayerwiseZO,
    NodePerturbation,
    SequentialLocal,
)
from rules.errors import unknown
from rules.fields import admit, at_least
from rules.objectives import OBJECTIVES
from rules.objectives.output_error import BinaryCrossEntropy, BitError
from rules.objectives.readout import TET
from rules.objectives.temporal_contrast import SiameseTemporalContrast, TemporalContrast
from rules.options import also_takes, built, with_option
from rules.plasticity import PLASTICITIES, SGD, Adam, Memristor
from rules.spikes.surrogate import Surrogate
from rules.views import VIEWS

Loss: TypeAlias = str | Objective  # a name in OBJECTIVES, or an objective


@dataclass(frozen=True)
class LearningRule:
    """A learning rule: the loss to minimise, how credit is assigned, and how a synapse changes its weight.

    Args:
        objective: the loss to minimise.
        credit: how each parameter should change.
        plasticity: makes the optimizer of the parameters that learn.
        every: time steps between two updates of the weights, inside a sequence; None for one at its end. The last
            window of a sequence may be shorter. The loss of a window is its share of the loss of the whole sequence.

    Raises:
        ValueError: for an `every` below 1, or with an objective whose loss is not a sum over steps, or with a credit
            that cannot go on from where a window ends.

    >>> from rules.objectives import OBJECTIVES
    >>> LearningRule(OBJECTIVES["ce_last"](), BPTT(window=5), Adam(lr=1e-3)).needs == {"gradient", "labels"}
    True
    >>> sorted(LearningRule(OBJECTIVES["ce_rate"](), BPTT(), Adam(lr=1e-3), every=10).needs)
    ['carry', 'gradient', 'labels']
    """

    objective: Objective
    credit: CreditRule
    plasticity: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is None:
            return
        object.__setattr__(self, "every", admit("every", self.every, int))
        at_least(1, self, "every")
        try:
            require_steps(self.objective)
        except ValueError as error:
            raise ValueError(f"every={self.every}: {error}") from error
        if self.credit.continues == "no":
            raise ValueError(
                f"every={self.every}: {type(self.credit).__name__} begins every batch at rest, and cannot go on where "
                'a window ends; use a rule that can, such as rules.make("eprop") or rules.make("tet"), or every=None'
            )

    @property
    def needs(self) -> frozenset[str]:
        """What the model and the batch must offer, keys of `NEEDS`."""
        return self.objective.needs | self.credit.needs | ({"carry"} if self.every is not None else frozenset())


timed = with_option("every", "int | None", None, lambda rule, every: replace(rule, every=every))


@timed
def bptt(
    *,
    lr: float = 5e-3,
    objective: Loss = "ce_mean",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = True,
    window: int | None = None,
    checkpoint: int | None = None,
    weight_decay: float = 0.0,
) -> LearningRule:
    """Cross-entropy of the mean output, BPTT through surrogates, Adam."""
    credit = BPTT(surrogate, detach_reset, window, checkpoint)
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=weight_decay))


@timed
def readout_only(
    *, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, smooth: bool = False
) -> LearningRule:
    """BPTT of the read-out alone, on random hidden layers: the baseline for rules that train those too."""
    credit = Restricted(BPTT(smooth=smooth))
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=weight_decay))


@timed
def tet(
    *,
    lr: float = 5e-3,
    lam: float = 1e-3,
    phi: float = 1.0,
    surrogate: str | Surrogate | None = None,
    weight_decay: float = 0.0,
) -> LearningRule:
    """Temporal efficient training: cross-entropy at every step, BPTT through surrogates, Adam."""
    return LearningRule(TET(lam, phi), BPTT(surrogate), Adam(lr, weight_decay=weight_decay))


@timed
@also_takes(TemporalContrast)
def tcl(
    *, lr: float = 5e-3, surrogate: str | Surrogate | None = None, weight_decay: float = 0.0, **contrast: Any
) -> LearningRule:
    """Temporal contrastive learning: cross-entropy at every step and contrast over time, BPTT, Adam."""
    return LearningRule(TemporalContrast(**contrast), BPTT(surrogate), Adam(lr, weight_decay=weight_decay))


@timed
@also_takes(TemporalContrast)
def stcl(
    *,
    lr: float = 5e-3,
    views: str = "vector",
    view_options: dict[str, Any] | None = None,
    surrogate: str | Surrogate | None = None,
    weight_decay: float = 0.0,
    **contrast: Any,
) -> LearningRule:
    """Siamese temporal contrastive learning: `tcl` over two views of every sample; `views` names a pair of `VIEWS`."""
    pair = pick("views", VIEWS, views, **(view_options or {}))
    objective = SiameseTemporalContrast(TemporalContrast(**contrast), pair)
    return LearningRule(objective, BPTT(surrogate), Adam(lr, weight_decay=weight_decay))


@timed
@also_takes(TemporalContrast)
def supcon_per_step(
    *, lr: float = 5e-3, surrogate: str | Surrogate | None = None, weight_decay: float = 0.0, **contrast: Any
) -> LearningRule:
    """Supervised contrast within each step, averaged over steps: `tcl` without the contrast over time."""
    within = {"positives": "class_same_t", "negatives": "same_t_only", **contrast}
    return LearningRule(TemporalContrast(**within), BPTT(surrogate), Adam(lr, weight_decay=weight_decay))


@timed
@also_takes(BinaryStochastic)
def binary_stochastic(
    *,
    device: str = "noisy_soft_bounds",
    store: str = "accumulate_and_carry",
    device_options: dict[str, Any] | None = None,
    store_options: dict[str, Any] | None = None,
    pulse: float | None = None,
    w_max: float = 2.0,
    lr: float | None = None,
    **credit: Any,
) -> LearningRule:
    """Binary stochastic backpropagation of the sampled output error, on memristors that step by whole pulses."""
    plasticity = Memristor(device, store, device_options or {}, store_options or {}, w_max, pulse, lr)
    return LearningRule(BitError(), BinaryStochastic(**credit), plasticity)


@timed
@also_takes(BinaryStochastic)
def binary_stochastic_ideal(*, pulse: float = 0.01, w_max: float = 2.0, **credit: Any) -> LearningRule:
    """Binary stochastic backpropagation on ideal weights: each pulse at once makes a step of the same size."""
    return LearningRule(BitError(), BinaryStochastic(**credit), Memristor("ideal", "direct", w_max=w_max, pulse=pulse))


@timed
def bptt_on_memristor(
    *,
    lr: float = 0.1,
    objective: Loss = "ce_mean",
    smooth: bool = False,
    device: str = "noisy_soft_bounds",
    store: str = "accumulate_and_carry",
    device_options: dict[str, Any] | None = None,
    store_options: dict[str, Any] | None = None,
    pulse: float | None = None,
    w_max: float = 0.0,
    train: int | None = None,
    surrogate: str | Surrogate | None = None,
) -> LearningRule:
    """BPTT whose gradient is written to memristors as pulses, unbiased, so that `lr` has the same meaning as in SGD."""
    plasticity = Memristor(device, store, device_options or {}, store_options or {}, w_max, pulse, lr, train=train)
    return LearningRule(pick("objective", OBJECTIVES, objective), BPTT(surrogate, smooth=smooth), plasticity)


@timed
def backprop(*, lr: float = 0.5, dropout: float = 0.0, momentum: float = 0.0) -> LearningRule:
    """High-precision SGD on networks of stochastic binary units: their probabilities in place of their bits.

    Not a member of RULES, because its read-out must put out probabilities; refer to it as `rules.recipes:backprop`.
    """
    return LearningRule(BinaryCrossEntropy(), Dropout(BPTT(smooth=True), dropout), SGD(lr, momentum))


@timed
@also_takes(HZO)
def hzo(*, lr: float = 0.05, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any) -> LearningRule:
    """Cross-entropy of the mean output, hierarchical zero-order optimisation over depth, SGD."""
    return forward_only(HZO(**credit), lr, momentum, objective)


@timed
@also_takes(LayerwiseZO)
def layerwise_zo(
    *, lr: float = 0.05, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, every layer probed through to the output, SGD."""
    return forward_only(LayerwiseZO(**credit), lr, momentum, objective)


@timed
@also_takes(SequentialLocal)
def sequential_local(
    *, lr: float = 0.05, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, errors carried back over one probed layer at a time, SGD."""
    return forward_only(SequentialLocal(**credit), lr, momentum, objective)


@timed
@also_takes(SPSA)
def spsa(
    *, lr: float = 0.01, momentum: float = 0.9, objective: Loss = "ce_mean", draws: int = 16, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, simultaneous perturbation of all weights, SGD."""
    return forward_only(SPSA(draws=draws, **credit), lr, momentum, objective)


@timed
@also_takes(NodePerturbation)
def node_perturbation(
    *, lr: float = 0.01, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, noise on every unit's input, SGD."""
    return forward_only(NodePerturbation(**credit), lr, momentum, objective)


@timed
@also_takes(ForwardGradient)
def forward_gradient(
    *, lr: float = 0.01, momentum: float = 0.9, objective: Loss = "ce_mean", draws: int = 8, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, its slope along random directions by forward-mode autograd, SGD."""
    return forward_only(ForwardGradient(draws=draws, **credit), lr, momentum, objective)


@timed
@also_takes(CoordinateWise)
def coordinate_wise(
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    objective: Loss = "ce_mean",
    sparsity: float = 0.9,
    **credit: Any,
) -> LearningRule:
    """Cross-entropy of the mean output, one weight perturbed at a time, a tenth of all weights per step, SGD."""
    return forward_only(CoordinateWise(sparsity=sparsity, **credit), lr, momentum, objective)


@timed
@also_takes(EvolutionStrategy)
def evolution_strategy(
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    objective: Loss = "ce_mean",
    population: int = 32,
    **credit: Any,
) -> LearningRule:
    """Cross-entropy of the mean output, a mirrored population of perturbed networks and their ranks, SGD."""
    return forward_only(EvolutionStrategy(population=population, **credit), lr, momentum, objective)


def forward_only(credit: CreditRule, lr: float, momentum: float, objective: Loss) -> LearningRule:
    """Build a zero-order rule: its credit with SGD."""
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, SGD(lr, momentum))


def fa(
    *,
    lr: float = 5e-3,
    objective: Loss = "ce_mean",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = True,
    window: int | None = None,
    checkpoint: int | None = None,
    weight_decay: float = 0.0,
    recurrent: Recurrent = "replaced",
) -> LearningRule:
    """Feedback alignment: BPTT whose errors go back through fixed random matrices, Adam."""
    credit = Feedback(BPTT(surrogate, detach_reset, window, checkpoint), "fa", recurrent)
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=weight_decay))


@also_takes(fa)
def dfa(**options: Any) -> LearningRule:
    """Direct feedback alignment: `fa` whose errors go from the output straight to every layer, Adam."""
    return of_kind("dfa", fa(**options))


@also_takes(fa)
def sdfa(**options: Any) -> LearningRule:
    """Direct feedback alignment with the signs of the errors alone, Adam."""
    return of_kind("sdfa", fa(**options))


@also_takes(fa)
def drtp(**options: Any) -> LearningRule:
    """Direct random target projection: hidden layers learn from the label, not from an error, Adam."""
    return of_kind("drtp", fa(**options))


@also_takes(fa)
def usf(**options: Any) -> LearningRule:
    """Uniform sign symmetry: errors go back through the signs of the weights, all of one size, Adam."""
    return of_kind("usf", fa(**options))


@also_takes(fa)
def brsf(**options: Any) -> LearningRule:
    """Sign symmetry with random sizes that are drawn anew in every step, Adam."""
    return of_kind("brsf", fa(**options))


@also_takes(fa)
def frsf(**options: Any) -> LearningRule:
    """Sign symmetry with random sizes that are drawn once, Adam."""
    return of_kind("frsf", fa(**options))


@also_takes(fa)
def weight_mirror(*, decay: float = 0.01, rate: float = 0.01, noise: int = 10, **options: Any) -> LearningRule:
    """Feedback alignment whose matrices learn the weights from noise, beside every step, Adam."""
    return of_kind("weight_mirror", fa(**options), decay=decay, rate=rate, noise=noise)


def kolen_pollack(
    *,
    lr: float = 5e-3,
    decay: float = 1e-3,
    objective: Loss = "ce_mean",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = True,
    window: int | None = None,
    checkpoint: int | None = None,
    recurrent: Recurrent = "replaced",
) -> LearningRule:
    """Feedback alignment whose matrices get the weights' own updates; both shrink by `decay` in a step, Adam."""
    credit = Feedback(BPTT(surrogate, detach_reset, window, checkpoint), "kolen_pollack", recurrent, decay)
    if not lr > 0:
        raise ValueError(f"lr={lr}: kolen_pollack shrinks weights with every update, so give a rate above 0")
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=decay / lr))


def of_kind(kind: str, rule: LearningRule, **options: Any) -> LearningRule:
    """Return a rule with feedback of another kind."""
    return replace(rule, credit=replace(rule.credit, kind=kind, **options))  # type: ignore[type-var]


RULES: dict[str, Callable[..., LearningRule]] = {
    "bptt": bptt,
    "tet": tet,
    "tcl": tcl,
    "stcl": stcl,
    "supcon_per_step": supcon_per_step,
    "binary_stochastic": binary_stochastic,
    "binary_stochastic_ideal": binary_stochastic_ideal,
    "bptt_on_memristor": bptt_on_memristor,
    "hzo": hzo,
    "layerwise_zo": layerwise_zo,
    "sequential_local": sequential_local,
    "spsa": spsa,
    "node_perturbation": node_perturbation,
    "forward_gradient": forward_gradient,
    "coordinate_wise": coordinate_wise,
    "evolution_strategy": evolution_strategy,
    "fa": fa,
    "dfa": dfa,
    "sdfa": sdfa,
    "drtp": drtp,
    "usf": usf,
    "brsf": brsf,
    "frsf": frsf,
    "weight_mirror": weight_mirror,
    "kolen_pollack": kolen_pollack,
    "readout_only": readout_only,
}

CREDITS: dict[str, Callable[..., CreditRule]] = {
    "bptt": BPTT,
    "binary_stochastic": BinaryStochastic,
    "hzo": HZO,
    "layerwise_zo": LayerwiseZO,
    "sequential_local": SequentialLocal,
    "spsa": SPSA,
    "node_perturbation": NodePerturbation,
    "forward_gradient": ForwardGradient,
    "coordinate_wise": CoordinateWise,
    "evolution_strategy": EvolutionStrategy,
}


def pick(kind: str, members: dict[str, Any], name: Any, **options: Any) -> Any:
    """Build a member of a registry by name; an unknown name or option lists the valid ones and the nearest.

    Anything but a name is returned as it is.
    """
    if not isinstance(name, str):
        return name
    if name not in members:
        raise unknown(kind, name, members)
    return built(kind, name, members[name], options)


def whole(rule: Any) -> LearningRule:
    """Return a learning rule, from its name or as it is.

    Raises:
        TypeError: for a credit alone, or anything else; the message says how to complete it.
    """
    rule = make(rule) if isinstance(rule, str) else rule
    if isinstance(rule, CreditRule):
        raise TypeError(
            f"{type(rule).__name__} is a credit, one of three parts of a rule: rules.LearningRule("
            f'rules.OBJECTIVES["ce_mean"](), {type(rule).__name__}(), rules.make("bptt").plasticity)'
        )
    if not isinstance(rule, LearningRule):
        raise TypeError(f"{rule!r} is not a rule: give a rules.LearningRule, or a name in rules.RULES")
    return rule


def make(name: str, **overrides: Any) -> LearningRule:
    """Build a named rule.

    Args:
        name: a name in `RULES`.
        overrides: options of that recipe.

    Raises:
        ValueError: for an unknown name or option; the message lists the valid ones and the nearest.

    >>> make("bptt", lr=0.01).plasticity.lr
    0.01
    """
    rule: LearningRule = pick("rule", RULES, name, **overrides)
    return rule


def compose(objective: str, credit: str, plasticity: str, **options: dict[str, Any]) -> LearningRule:
    """Build a rule from the names of its three parts.

    Args:
        objective: a name in `OBJECTIVES`.
        credit: a name in `CREDITS`.
        plasticity: a name in `PLASTICITIES`.
        options: a dict of options for each part, `objective_options`, `credit_options`, `plasticity_options`.

    >>> compose("tet", "bptt", "sgd", plasticity_options={"lr": 0.1}).plasticity.lr
    0.1
    """
    parts: dict[str, tuple[dict[str, Any], str]] = {
        "objective": (OBJECTIVES, objective),
        "credit": (CREDITS, credit),
        "plasticity": (PLASTICITIES, plasticity),
    }
    valid = [f"{part}_options" for part in parts]
    for option in options:
        if option not in valid:
            raise unknown("option of compose", option, valid)
    made = {part: pick(part, *found, **options.get(f"{part}_options", {})) for part, found in parts.items()}
    return LearningRule(**made)
