"""Rules of networks that settle before they learn, or whose layers have targets."""

from __future__ import annotations

from typing import Any

from rules.credit.relaxation import EquilibriumPropagation, PredictiveCoding
from rules.credit.target_propagation import TargetPropagation
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import Adam
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised


@timed
@optimised("adam")
@also_takes(PredictiveCoding)
def predictive_coding(
    *, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, errors that relax to those of backpropagation, Adam."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, PredictiveCoding(**credit), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
@also_takes(EquilibriumPropagation)
def equilibrium_propagation(
    *, lr: float = 5e-3, objective: Loss = "bit_error", weight_decay: float = 0.0, **credit: Any
) -> LearningRule:
    """Squared error of a network that settles with symmetric weights, free and nudged both ways, Adam."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, EquilibriumPropagation(**credit), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
@also_takes(TargetPropagation)
def target_propagation(
    *, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, targets of layers by inverses that learn, Adam."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, TargetPropagation(**credit), Adam(lr, weight_decay=weight_decay))
