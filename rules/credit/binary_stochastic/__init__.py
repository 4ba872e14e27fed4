"""Binary stochastic backpropagation, and the connections that carry its bits. Imports no other credit rule."""

from rules.credit.binary_stochastic.rule import BinaryStochastic

__all__ = ["BinaryStochastic"]
