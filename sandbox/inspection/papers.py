"""Energy by the formula of the papers on spiking transformers."""

from __future__ import annotations

from sandbox.inspection.operands import Operand
from sandbox.ledger.energy import CMOS_45NM, Constants


def of_papers(operand: Operand, constants: Constants = CMOS_45NM) -> float:
    """Return the energy [pJ] of a layer by the papers' formula.

        input of 0 and 1: E_AC rate pairs,    otherwise: E_MAC pairs

    A rate of 1 multiplies, and biases count as operations of the same kind.

    >>> import torch
    >>> from torch import nn
    >>> from rules import Batch
    >>> from sandbox.inspection.operands import operands
    >>> first = operands(nn.Linear(512, 1000), Batch(torch.rand(1, 1, 512)))[0]
    >>> of_papers(first) == 4.6 * 513_000
    True
    """
    bits = [rate for rate, each in zip(operand.rates, operand.alphabets, strict=True) if each.spikes]
    whole = len(operand.rates) == 1 and bits == [1.0]
    if not bits or whole:
        return constants.mac * (operand.pairs + operand.biases)
    return constants.ac * (min(bits) * operand.pairs + operand.biases)
