"""Backpropagation whose errors go back through other weights than the transposed ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rules.credit.bptt import BPTT
from rules.credit.feedback.rule import Feedback, Recurrent
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import Adam
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised
from rules.spikes.surrogate import Surrogate


@timed
@optimised("adam")
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


@timed
@also_takes(fa)
def dfa(**options: Any) -> LearningRule:
    """Direct feedback alignment: `fa` whose errors go from the output straight to every layer, Adam."""
    return of_kind("dfa", fa(**options))


@timed
@also_takes(fa)
def sdfa(**options: Any) -> LearningRule:
    """Direct feedback alignment with the signs of the errors alone, Adam."""
    return of_kind("sdfa", fa(**options))


@timed
@also_takes(fa)
def drtp(**options: Any) -> LearningRule:
    """Direct random target projection: hidden layers learn from the label, not from an error, Adam."""
    return of_kind("drtp", fa(**options))


@timed
@also_takes(fa)
def usf(**options: Any) -> LearningRule:
    """Uniform sign symmetry: errors go back through the signs of the weights, all of one size, Adam."""
    return of_kind("usf", fa(**options))


@timed
@also_takes(fa)
def brsf(**options: Any) -> LearningRule:
    """Sign symmetry with random sizes that are drawn anew in every step, Adam."""
    return of_kind("brsf", fa(**options))


@timed
@also_takes(fa)
def frsf(**options: Any) -> LearningRule:
    """Sign symmetry with random sizes that are drawn once, Adam."""
    return of_kind("frsf", fa(**options))


@timed
@also_takes(fa)
def weight_mirror(*, decay: float = 0.01, rate: float = 0.01, noise: int = 10, **options: Any) -> LearningRule:
    """Feedback alignment whose matrices learn the weights from noise, beside every step, Adam."""
    return of_kind("weight_mirror", fa(**options), decay=decay, rate=rate, noise=noise)


@timed
@optimised("adam")
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
