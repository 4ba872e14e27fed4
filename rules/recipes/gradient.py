"""Rules whose credit is a gradient: of the whole network, of its read-out, or of random bits."""

from __future__ import annotations

from typing import Any

from rules.credit.binary_stochastic.rule import BinaryStochastic
from rules.credit.bptt import BPTT
from rules.credit.dropout import Dropout
from rules.credit.restricted import Restricted
from rules.objectives import OBJECTIVES
from rules.objectives.output_error import BinaryCrossEntropy, BitError
from rules.objectives.readout import TET
from rules.objectives.temporal_contrast import SiameseTemporalContrast, TemporalContrast
from rules.options import also_takes
from rules.plasticity import SGD, Adam, Memristor
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised
from rules.spikes.surrogate import Surrogate
from rules.views import VIEWS


@timed
@optimised("adam")
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
@optimised("adam")
def readout_only(
    *, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, smooth: bool = False
) -> LearningRule:
    """BPTT of the read-out alone, on random hidden layers: the baseline for rules that train those too."""
    credit = Restricted(BPTT(smooth=smooth))
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
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
@optimised("adam")
@also_takes(TemporalContrast)
def tcl(
    *, lr: float = 5e-3, surrogate: str | Surrogate | None = None, weight_decay: float = 0.0, **contrast: Any
) -> LearningRule:
    """Temporal contrastive learning: cross-entropy at every step and contrast over time, BPTT, Adam."""
    return LearningRule(TemporalContrast(**contrast), BPTT(surrogate), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
@also_takes(TemporalContrast)
def stcl(
    *,
    lr: float = 5e-3,
    views: str = "time",
    view_options: dict[str, Any] | None = None,
    surrogate: str | Surrogate | None = None,
    weight_decay: float = 0.0,
    **contrast: Any,
) -> LearningRule:
    """Siamese temporal contrastive learning: `tcl` over two views of every sample.

    Args:
        lr: learning rate.
        views: a pair of `VIEWS`, by name.
        view_options: its options.
        surrogate: replaces every neuron's own surrogate; None keeps those.
        weight_decay: decay rate of the weights.
        **contrast: options of `TemporalContrast`.
    """
    pair = pick("views", VIEWS, views, **(view_options or {}))
    objective = SiameseTemporalContrast(TemporalContrast(**contrast), pair)
    return LearningRule(objective, BPTT(surrogate), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
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
@optimised("sgd")
def backprop(*, lr: float = 0.5, dropout: float = 0.0, momentum: float = 0.0) -> LearningRule:
    """High-precision SGD on networks of stochastic binary units: their probabilities in place of their bits.

    Not a member of RULES, because its read-out must put out probabilities; refer to it as `rules.recipes:backprop`.
    """
    return LearningRule(BinaryCrossEntropy(), Dropout(BPTT(smooth=True), dropout), SGD(lr, momentum))
