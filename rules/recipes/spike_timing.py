"""Rules of spike times. Those without a loss learn nothing from the objective, which an evaluation reports."""

from __future__ import annotations

from typing import Any

from rules.credit.eventprop import EventProp
from rules.credit.eventprop.grazing import GRAZING
from rules.credit.spike_timing import STDP, EscapeNoise, RewardSTDP, Window
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import SGD, Adam
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised
from rules.spikes.surrogate import Surrogate


@timed
@optimised("sgd")
@also_takes(Window)
def stdp(
    *, lr: float = 1e-3, momentum: float = 0.0, weight_decay: float = 0.0, objective: Loss = "tet", **window: Any
) -> LearningRule:
    """Spike-timing-dependent plasticity by pairs of spikes, without a loss or labels, SGD."""
    credit = STDP(Window(**window))
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, SGD(lr, momentum, weight_decay))


@timed
@optimised("sgd")
@also_takes(Window)
def triplet_stdp(
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    objective: Loss = "tet",
    a_plus: float = 0.0,
    a_minus: float = 1.0,
    triplet_plus: float = 0.92,
    tau_plus: float = 16.8,
    tau_minus: float = 33.7,
    tau_y: float = 114.0,
    **window: Any,
) -> LearningRule:
    """STDP by triplets of spikes, in the minimal form for visual cortex (numbers recalled), without a loss, SGD."""
    amplitudes: dict[str, Any] = {"a_plus": a_plus, "a_minus": a_minus, "triplet_plus": triplet_plus}
    credit = STDP(Window(**amplitudes, tau_plus=tau_plus, tau_minus=tau_minus, tau_y=tau_y, **window))
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, SGD(lr, momentum, weight_decay))


@timed
@optimised("sgd")
@also_takes(Window)
def r_stdp(
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    objective: Loss = "tet",
    tau_e: float = 500.0,
    baseline: str = "none",
    memory: float = 0.9,
    **window: Any,
) -> LearningRule:
    """STDP that waits for a reward: pairs make weights eligible, `batch.targets`, or being right, moves them, SGD."""
    credit = RewardSTDP(Window(**window), tau_e, baseline, memory)  # type: ignore[arg-type]  # it checks the word
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, SGD(lr, momentum, weight_decay))


@timed
@optimised("sgd")
def escape_noise(
    *,
    lr: float = 0.05,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    objective: Loss = "tet",
    surrogate: str | Surrogate = "sigmoid",
    tau_e: float | None = None,
    baseline: str = "none",
    memory: float = 0.9,
) -> LearningRule:
    """Reward times the score of random spikes: REINFORCE by local traces, for cells with escape noise, SGD."""
    credit = EscapeNoise(surrogate, tau_e, baseline, memory)  # type: ignore[arg-type]  # it checks the word
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, SGD(lr, momentum, weight_decay))


@timed
@optimised("adam")
def eventprop(
    *,
    lr: float = 5e-3,
    weight_decay: float = 0.0,
    objective: Loss = "ce_mean",
    silent: str = "none",
    bump: float = 0.1,
    grazing: float = GRAZING,
) -> LearningRule:
    """EventProp: the gradient by the times of spikes, without surrogates, for cells such as cuba_lif, Adam."""
    credit = EventProp(silent, bump, grazing)
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=weight_decay))
