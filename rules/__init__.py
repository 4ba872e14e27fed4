"""How weights learn: a rule is an objective, a credit assignment and a plasticity, on any torch model."""

from rules.bits import StochasticBits
from rules.contract import (
    NEEDS,
    Batch,
    Cost,
    Credit,
    CreditRule,
    MissingNeed,
    Objective,
    Run,
    Trace,
)
from rules.credit.binary_stochastic import BinaryStochastic
from rules.credit.bptt import BPTT
from rules.credit.restricted import Restricted
from rules.health import Finding, HealthWarning
from rules.monitor import Health, Unhealthy
from rules.nonfinite import NonFinite
from rules.recipes import CREDITS, RULES, LearningRule, compose, make
from rules.surrogates import SURROGATES, Surrogate
from rules.trainer import StepInfo, Trainer

__all__ = [
    "BPTT",
    "CREDITS",
    "NEEDS",
    "RULES",
    "SURROGATES",
    "Batch",
    "BinaryStochastic",
    "Cost",
    "Credit",
    "CreditRule",
    "Finding",
    "Health",
    "HealthWarning",
    "LearningRule",
    "MissingNeed",
    "NonFinite",
    "Objective",
    "Restricted",
    "Run",
    "StepInfo",
    "StochasticBits",
    "Surrogate",
    "Trace",
    "Trainer",
    "Unhealthy",
    "compose",
    "make",
]
