"""How weights learn: a rule is an objective, a credit assignment and a plasticity, on any torch model."""

from rules.contract import NEEDS, Batch, Cost, Credit, CreditRule, MissingNeed, Objective, Run, Trace
from rules.credit.binary_stochastic.rule import BinaryStochastic
from rules.credit.bptt import BPTT
from rules.credit.restricted import Restricted
from rules.diagnostics.health import Finding, HealthWarning
from rules.diagnostics.monitor import Health, Unhealthy
from rules.diagnostics.nonfinite import NonFinite
from rules.recipes import CREDITS, RULES, LearningRule, compose, make
from rules.spikes.bits import StochasticBits
from rules.spikes.surrogate import SURROGATES, Surrogate
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
