"""Rules whose credit is measured by probes, without a backward pass."""

from __future__ import annotations

from typing import Any

from rules.contract import CreditRule
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
from rules.objectives import OBJECTIVES
from rules.options import also_takes
from rules.plasticity import SGD
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised


@timed
@optimised("sgd")
@also_takes(HZO)
def hzo(*, lr: float = 0.05, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any) -> LearningRule:
    """Cross-entropy of the mean output, hierarchical zero-order optimisation over depth, SGD."""
    return forward_only(HZO(**credit), lr, momentum, objective)


@timed
@optimised("sgd")
@also_takes(LayerwiseZO)
def layerwise_zo(
    *, lr: float = 0.05, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, every layer probed through to the output, SGD."""
    return forward_only(LayerwiseZO(**credit), lr, momentum, objective)


@timed
@optimised("sgd")
@also_takes(SequentialLocal)
def sequential_local(
    *, lr: float = 0.05, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, errors carried back over one probed layer at a time, SGD."""
    return forward_only(SequentialLocal(**credit), lr, momentum, objective)


@timed
@optimised("sgd")
@also_takes(SPSA)
def spsa(
    *, lr: float = 0.01, momentum: float = 0.9, objective: Loss = "ce_mean", draws: int = 16, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, simultaneous perturbation of all weights, SGD."""
    return forward_only(SPSA(draws=draws, **credit), lr, momentum, objective)


@timed
@optimised("sgd")
@also_takes(NodePerturbation)
def node_perturbation(
    *, lr: float = 0.01, momentum: float = 0.9, objective: Loss = "ce_mean", **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, noise on every unit's input, SGD."""
    return forward_only(NodePerturbation(**credit), lr, momentum, objective)


@timed
@optimised("sgd")
@also_takes(ForwardGradient)
def forward_gradient(
    *, lr: float = 0.01, momentum: float = 0.9, objective: Loss = "ce_mean", draws: int = 8, **credit: Any
) -> LearningRule:
    """Cross-entropy of the mean output, its slope along random directions by forward-mode autograd, SGD."""
    return forward_only(ForwardGradient(draws=draws, **credit), lr, momentum, objective)


@timed
@optimised("sgd")
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
@optimised("sgd")
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
