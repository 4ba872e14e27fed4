"""Rules of spike times. Those without a loss learn nothing from the objective, which an evaluation reports."""

from __future__ import annotations

from typing import Any

from rules.credit.eventprop import EventProp
from rules.credit.eventprop.grazing import GRAZING
from rules.credit.spike_timing import BCPNN, STDP, EscapeNoise, Homeostasis, RewardSTDP, Voltage, Window
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import SGD, Adam, Normalised
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised
from rules.spikes.surrogate import Surrogate


def unlabelled(
    objective: Loss,
    window: Window | Voltage,
    lr: float,
    momentum: float,
    weight_decay: float,
    homeostasis: float,
    target: float,
    normalise: bool,
    high: float | None,
    acts: str = "after",
    low: float | None = None,
) -> LearningRule:
    """Return STDP with what keeps it stable: thresholds that adapt, bounds, and weights of a constant sum."""
    inside = acts == "at_once"
    if high is not None and not (normalise or inside):
        raise ValueError(
            f"high={high} without normalise=True, or acts='at_once', which keep weights within bounds: give one of them"
        )
    if target and not homeostasis:
        raise ValueError(f"target={target} without homeostasis, which moves thresholds: give homeostasis=..., its gain")
    bounds: dict[str, Any] = {"low": low, "high": high if inside else None}
    credit = STDP(window, Homeostasis(homeostasis, target) if homeostasis else None, acts, **bounds)  # type: ignore[arg-type]
    plasticity: Any = SGD(lr, momentum, weight_decay)
    if normalise:
        inner = {"name": "sgd", "options": {"momentum": momentum, "weight_decay": weight_decay}}
        plasticity = Normalised(high=high, inner=inner, lr=lr)
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, plasticity)


@timed
@also_takes(Window)
def stdp(
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    objective: Loss = "assignment",
    homeostasis: float = 0.0,
    target: float = 0.0,
    normalise: bool = False,
    high: float | None = None,
    acts: str = "after",
    low: float | None = None,
    **window: Any,
) -> LearningRule:
    """Spike-timing-dependent plasticity by pairs of spikes, without a loss or labels, SGD."""
    return unlabelled(
        objective, Window(**window), lr, momentum, weight_decay, homeostasis, target, normalise, high, acts, low
    )


@timed
@also_takes(Window)
def triplet_stdp(
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    objective: Loss = "assignment",
    homeostasis: float = 0.0,
    target: float = 0.0,
    normalise: bool = False,
    high: float | None = None,
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
    triplets = Window(**amplitudes, tau_plus=tau_plus, tau_minus=tau_minus, tau_y=tau_y, **window)
    return unlabelled(objective, triplets, lr, momentum, weight_decay, homeostasis, target, normalise, high)


@timed
@also_takes(Voltage)
def voltage_stdp(
    *,
    lr: float = 1e-3,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    objective: Loss = "assignment",
    homeostasis: float = 0.0,
    target: float = 0.0,
    normalise: bool = True,
    high: float | None = None,
    **voltage: Any,
) -> LearningRule:
    """Plasticity by spikes of an input and the membrane of a cell, without a loss or labels, SGD."""
    return unlabelled(objective, Voltage(**voltage), lr, momentum, weight_decay, homeostasis, target, normalise, high)


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
@also_takes(BCPNN)
def bcpnn(*, lr: float = 1.0, objective: Loss = "tet", **chances: Any) -> LearningRule:
    """Weights are the logarithm of how much more often two cells are active together than by chance, SGD."""
    return LearningRule(pick("objective", OBJECTIVES, objective), BCPNN(**chances), SGD(lr))


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
