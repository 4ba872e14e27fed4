"""Every flat zero-order rule against the contract; what it claims is measured on toy nets in the slow tier."""

from __future__ import annotations

import pytest

from rules.check import check_rule
from rules.check.rule import CHECKS, Subject
from rules.credit.zero_order.flat.coordinate_wise import CoordinateWise
from rules.credit.zero_order.flat.evolution import EvolutionStrategy
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.objectives import OBJECTIVES
from rules.plasticity import PLASTICITIES
from rules.recipes import LearningRule

CREDITS = {
    "spsa": SPSA(),
    "spsa, forward, signs": SPSA(draws=2, diff="forward", direction="rademacher"),
    "spsa, thin": SPSA(rank=1),
    "evolution": EvolutionStrategy(),
    "evolution, unshaped": EvolutionStrategy(population=4, shaping="none"),
    "evolution, alone": EvolutionStrategy(population=4, shaping="none", antithetic=False),
    "evolution, thin": EvolutionStrategy(population=4, shaping="none", rank=1),
    "forward gradient": ForwardGradient(),
    "node perturbation": NodePerturbation(draws=1),
    "node perturbation, forward": NodePerturbation(draws=1, antithetic=False),
    "coordinates": CoordinateWise(),
    "coordinates, forward": CoordinateWise(diff="forward", sparsity=0.8),
    "coordinates, in turn": CoordinateWise(sparsity=0.9, together=False),
    "coordinates, some": CoordinateWise(sparsity=0.9),
    "coordinates, fixed": CoordinateWise(sparsity=0.5, subset="fixed"),
}


def rule(credit):
    return LearningRule(OBJECTIVES["ce_mean"](), credit, PLASTICITIES["sgd"](lr=0.1))


@pytest.mark.filterwarnings("ignore::rules.diagnostics.health.HealthWarning")  # a few coordinates may all miss a layer
@pytest.mark.parametrize(
    "name", [name for name in CREDITS if name not in ("coordinates, forward", "coordinates, fixed")]
)
def test_contract(name):
    """Claims of stochastic rules take 2,000 draws, and their time in the slow tier; so do more kinds of coordinates."""
    credit = CREDITS[name]
    for what, check in CHECKS.items():
        if what != "claim holds" or credit.claim != "unbiased":
            check(Subject(rule(credit)))


@pytest.mark.slow
@pytest.mark.parametrize("credit", CREDITS.values(), ids=CREDITS)
def test_the_whole_contract(credit):
    report = check_rule(rule(credit))
    assert report.passed, str(report)
