"""Rules of two forward passes, without a backward pass or a relaxation."""

from __future__ import annotations

from typing import Any

from rules.credit.forward_forward import ForwardForward
from rules.credit.pepita import PEPITA
from rules.objectives import OBJECTIVES
from rules.objectives.goodness import Goodness
from rules.options import also_takes
from rules.plasticity import Adam
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised


@timed
@optimised("adam")
@also_takes(PEPITA)
def pepita(*, lr: float = 5e-3, objective: Loss = "ce_mean", weight_decay: float = 0.0, **credit: Any) -> LearningRule:
    """Cross-entropy of the mean output, a second pass whose input the error changes, Adam."""
    loss = pick("objective", OBJECTIVES, objective)
    return LearningRule(loss, PEPITA(**credit), Adam(lr, weight_decay=weight_decay))


@timed
@optimised("adam")
@also_takes(ForwardForward)
def forward_forward(
    *, lr: float = 5e-3, threshold: float = 10.0, weight_decay: float = 0.0, **credit: Any
) -> LearningRule:
    """Each layer's goodness for right and wrong labels, written into the input, no error between layers, Adam."""
    return LearningRule(Goodness(threshold), ForwardForward(**credit), Adam(lr, weight_decay=weight_decay))
