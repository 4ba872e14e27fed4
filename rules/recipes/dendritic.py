"""Rules of dendrites, at which what teaches arrives apart from what drives the soma."""

from __future__ import annotations

from typing import Any

from rules.credit.dendritic import Burst, Microcircuit, UrbanczikSenn
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import SGD, Adam
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised


@timed
@optimised("adam")
@also_takes(Burst)
def burst(*, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, **credit: Any) -> LearningRule:
    """Cross-entropy of the mean output, errors that turn events into bursts, fixed random weights down, Adam."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, Burst(**credit), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
@also_takes(Microcircuit)
def microcircuit(
    *, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, errors in apical dendrites that interneurons fail to predict, Adam."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, Microcircuit(**credit), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("sgd")
@also_takes(UrbanczikSenn)
def urbanczik_senn(
    *, lr: float = 0.1, momentum: float = 0.0, weight_decay: float = 0.0, objective: Loss = "tet", **credit: Any
) -> LearningRule:
    """Dendrites of the last layer that learn to predict their somata, which rates or classes nudge, SGD."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, UrbanczikSenn(**credit), SGD(lr, momentum, weight_decay))
