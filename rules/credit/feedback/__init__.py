"""Feedback without weight transport: errors go back through matrices of their own.

Imports the contract, objectives, the forward pass, metering and how models are asked. It wraps any credit that carries
errors back by autograd, and uses that only through the contract's `Holding`.
"""

from rules.credit.feedback.kinds import KINDS
from rules.credit.feedback.rule import Feedback

__all__ = ["KINDS", "Feedback"]
