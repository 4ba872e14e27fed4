"""Checks that a rule or a plasticity does what it claims. May import every other package of rules."""

from rules.check.plasticity import check_plasticity
from rules.check.rule import check_rule

__all__ = ["check_plasticity", "check_rule"]
