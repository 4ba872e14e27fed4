"""Credit by relaxation: networks that settle, and whose changes are products of what each synapse sees.

Imports the contract, metering, the chains of `rules.models`, and what settles; no other credit rule.
"""

from rules.credit.relaxation.equilibrium import EquilibriumPropagation
from rules.credit.relaxation.predictive import PredictiveCoding
from rules.settling import NotSettled

__all__ = ["EquilibriumPropagation", "NotSettled", "PredictiveCoding"]
