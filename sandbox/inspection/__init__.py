"""What a model computes with: signals at every weight, operations, firing rates and energy, for one batch.

Imports rules and ledger.
"""

from sandbox.inspection.alphabet import Alphabet, alphabet_of
from sandbox.inspection.arithmetic import Arithmetic, arithmetic
from sandbox.inspection.inspecting import Inspection, inspect
from sandbox.inspection.operands import Operand, operands

__all__ = ["Alphabet", "Arithmetic", "Inspection", "Operand", "alphabet_of", "arithmetic", "inspect", "operands"]
