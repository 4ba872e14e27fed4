"""How weights learn: a rule is an objective, a credit assignment and a plasticity, on any torch model.

Imports torch and numpy, and nothing of `sandbox`. The names defined here are public. Other modules are internal and may
move, except for those named in README and documentation.
"""

from typing import TYPE_CHECKING

from rules.lazy import face

if TYPE_CHECKING:
    from rules.batches import as_batch as as_batch
    from rules.check import check_plasticity as check_plasticity
    from rules.check import check_rule as check_rule
    from rules.contract import NEEDS as NEEDS
    from rules.contract import Batch as Batch
    from rules.contract import Cost as Cost
    from rules.contract import Credit as Credit
    from rules.contract import CreditRule as CreditRule
    from rules.contract import Local as Local
    from rules.contract import MissingNeed as MissingNeed
    from rules.contract import Objective as Objective
    from rules.contract import Run as Run
    from rules.contract import Trace as Trace
    from rules.credit.binary_stochastic.rule import BinaryStochastic as BinaryStochastic
    from rules.credit.bptt import BPTT as BPTT
    from rules.credit.feedback.rule import Feedback as Feedback
    from rules.credit.online import Online as Online
    from rules.credit.online import Spatial as Spatial
    from rules.credit.restricted import Partition as Partition
    from rules.credit.restricted import Restricted as Restricted
    from rules.diagnostics.health import Finding as Finding
    from rules.diagnostics.health import HealthWarning as HealthWarning
    from rules.diagnostics.monitor import Health as Health
    from rules.diagnostics.monitor import Unhealthy as Unhealthy
    from rules.diagnostics.nonfinite import NonFinite as NonFinite
    from rules.forward import run_model as run_model
    from rules.metering import Meter as Meter
    from rules.models.adapt import adapt as adapt
    from rules.objectives import OBJECTIVES as OBJECTIVES
    from rules.recipes import CREDITS as CREDITS
    from rules.recipes import RULES as RULES
    from rules.recipes import LearningRule as LearningRule
    from rules.recipes import compose as compose
    from rules.recipes import make as make
    from rules.schedules import Cosine as Cosine
    from rules.schedules import Schedule as Schedule
    from rules.schedules import StepDecay as StepDecay
    from rules.schedules import WarmUp as WarmUp
    from rules.spikes.bits import StochasticBits as StochasticBits
    from rules.spikes.surrogate import SURROGATES as SURROGATES
    from rules.spikes.surrogate import Surrogate as Surrogate
    from rules.synapses import Product as Product
    from rules.team import PeerFailed as PeerFailed
    from rules.team import Team as Team
    from rules.trainer import StepInfo as StepInfo
    from rules.trainer import Trainer as Trainer

DISTRIBUTION = "learning-rule-sandbox"  # distinguishes this package from others named `rules`

_HOMES = {
    "BPTT": "rules.credit.bptt",
    "CREDITS": "rules.recipes",
    "NEEDS": "rules.contract",
    "OBJECTIVES": "rules.objectives",
    "Partition": "rules.credit.restricted",
    "PeerFailed": "rules.team",
    "Product": "rules.synapses",
    "RULES": "rules.recipes",
    "SURROGATES": "rules.spikes.surrogate",
    "Batch": "rules.contract",
    "BinaryStochastic": "rules.credit.binary_stochastic.rule",
    "Cosine": "rules.schedules",
    "Cost": "rules.contract",
    "Credit": "rules.contract",
    "CreditRule": "rules.contract",
    "Feedback": "rules.credit.feedback.rule",
    "Finding": "rules.diagnostics.health",
    "Health": "rules.diagnostics.monitor",
    "HealthWarning": "rules.diagnostics.health",
    "LearningRule": "rules.recipes",
    "Local": "rules.contract",
    "Meter": "rules.metering",
    "MissingNeed": "rules.contract",
    "NonFinite": "rules.diagnostics.nonfinite",
    "Objective": "rules.contract",
    "Online": "rules.credit.online",
    "Restricted": "rules.credit.restricted",
    "Run": "rules.contract",
    "Schedule": "rules.schedules",
    "Spatial": "rules.credit.online",
    "StepDecay": "rules.schedules",
    "StepInfo": "rules.trainer",
    "StochasticBits": "rules.spikes.bits",
    "Surrogate": "rules.spikes.surrogate",
    "Team": "rules.team",
    "Trace": "rules.contract",
    "Trainer": "rules.trainer",
    "Unhealthy": "rules.diagnostics.monitor",
    "WarmUp": "rules.schedules",
    "adapt": "rules.models.adapt",
    "as_batch": "rules.batches",
    "check_plasticity": "rules.check",
    "check_rule": "rules.check",
    "compose": "rules.recipes",
    "make": "rules.recipes",
    "run_model": "rules.forward",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = face(__name__, _HOMES)
