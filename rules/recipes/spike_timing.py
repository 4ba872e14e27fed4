"""Rules of spike times. Those without a loss learn nothing from the objective, which an evaluation reports."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from rules.credit.eventprop import EventProp
from rules.credit.eventprop.grazing import GRAZING
from rules.credit.spike_timing import BCPNN, STDP, EscapeNoise, Homeostasis, RewardSTDP, Voltage, Window
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import SGD, Adam, Normalised
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised
from rules.spikes.surrogate import Surrogate

Acts: TypeAlias = Literal["after", "at_once"]


@dataclass(frozen=True)
class Steady:
    """What moves weights without labels, and keeps them steady.

    Args:
        lr: learning rate.
        momentum: share of the last change that is kept.
        weight_decay: decay rate of the weights, added to the gradient.
        objective: gives the read-out and the loss of an evaluation; nothing is learned from it.
        homeostasis: how much a threshold that a cell learns grows for each spike, at a learning rate of 1; 0 for
            thresholds that stay.
        target: rate at which such a threshold rests [Hz]; 0 for thresholds that only rise.
        normalise: whether weights begin with their absolute values, stay above 0, and those of a cell keep their sum.
        high: upper bound of the weights, with `normalise`, or with weights that act at once; None for none.
    """

    lr: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    objective: Loss = "assignment"
    homeostasis: float = 0.0
    target: float = 0.0
    normalise: bool = False
    high: float | None = None

    def rule(self, window: Window | Voltage, acts: Acts = "after", low: float | None = None) -> LearningRule:
        """Return the rule of a window.

        Raises:
            ValueError: for a bound or a target that nothing keeps.
        """
        inside = acts == "at_once"
        if self.high is not None and not (self.normalise or inside):
            raise ValueError(
                f"high={self.high} without normalise=True, or acts='at_once', which keep weights within bounds: give "
                "one of them"
            )
        if self.target and not self.homeostasis:
            raise ValueError(
                f"target={self.target} without homeostasis, which moves thresholds: give homeostasis=..., its gain"
            )
        adapting = Homeostasis(self.homeostasis, self.target) if self.homeostasis else None
        credit = STDP(window, adapting, acts, low=low, high=self.high if inside else None)
        plasticity: Any = SGD(self.lr, self.momentum, self.weight_decay)
        if self.normalise:
            inner = {"name": "sgd", "options": {"momentum": self.momentum, "weight_decay": self.weight_decay}}
            plasticity = Normalised(high=self.high, inner=inner, lr=self.lr)
        return LearningRule(pick("objective", OBJECTIVES, self.objective), credit, plasticity)


def parted(options: dict[str, Any], window: type[Window | Voltage]) -> tuple[Any, Steady]:
    """Return the window of the options that are its own, and what the others keep steady."""
    own = {f.name for f in fields(window)} & set(options)
    return window(**{name: options.pop(name) for name in own}), Steady(**options)


@timed
@also_takes(Steady, Window)
def stdp(*, acts: Acts = "after", low: float | None = None, **options: Any) -> LearningRule:
    """Spike-timing-dependent plasticity by pairs of spikes, without a loss or labels, SGD."""
    window, steady = parted(options, Window)
    return steady.rule(window, acts, low)


@timed
@also_takes(Steady, Window)
def triplet_stdp(
    *,
    a_plus: float = 0.0,
    a_minus: float = 1.0,
    triplet_plus: float = 0.92,
    tau_plus: float = 16.8,
    tau_minus: float = 33.7,
    tau_y: float = 114.0,
    **options: Any,
) -> LearningRule:
    """STDP by triplets of spikes, in the minimal form for visual cortex (numbers recalled), without a loss, SGD."""
    times = {"tau_plus": tau_plus, "tau_minus": tau_minus, "tau_y": tau_y}
    amplitudes = {"a_plus": a_plus, "a_minus": a_minus, "triplet_plus": triplet_plus}
    window, steady = parted({**amplitudes, **times, **options}, Window)
    return steady.rule(window)


@timed
@also_takes(Steady, Voltage)
def voltage_stdp(*, normalise: bool = True, **options: Any) -> LearningRule:
    """Plasticity by spikes of an input and the membrane of a cell, without a loss or labels, SGD."""
    voltage, steady = parted({"normalise": normalise, **options}, Voltage)
    return steady.rule(voltage)


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
