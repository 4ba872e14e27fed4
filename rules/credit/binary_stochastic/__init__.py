"""Binary stochastic backpropagation, and the wires that carry its bits. Imports no other credit."""

from rules.credit.binary_stochastic.rule import BinaryStochastic

__all__ = ["BinaryStochastic"]
