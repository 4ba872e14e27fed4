"""The function `(exp(x) - 1) / x`, accurate near x = 0, for exact steps and the rates of ion channels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sandbox.neurons.base import Value

TERMS = 14  # of the Taylor series; for |x| < 0.3 the next term is below 1e-18


def exprel(x: Value) -> Value:
    """Return `(exp(x) - 1) / x`, 1 at 0, with an accurate derivative in every dtype.

    >>> exprel(0.0), exprel(torch.zeros(1))
    (1.0, tensor([1.]))
    """
    if not isinstance(x, Tensor):
        return math.expm1(x) / x if x else 1.0
    near = x.abs() < torch.finfo(x.dtype).eps ** (1 / 3)  # here the derivative of the quotient loses its digits
    # The inner `where` keeps 0 / 0 out of the quotient: its NaN would reach the gradient although it is not selected.
    safe = torch.where(near, 1.0, x)
    return torch.where(near, 1 + x * (0.5 + x / 6), torch.expm1(safe) / safe)


def exprel_slope(x: Value) -> Value:
    """Return the derivative of `exprel`, `(exp(x) (x - 1) + 1) / x^2`, 1/2 at 0.

    >>> exprel_slope(0.0)
    0.5
    """
    if not isinstance(x, Tensor):
        return _series(x) if abs(x) < 0.3 else (math.exp(x) * (x - 1) + 1) / x**2
    near = x.abs() < 0.3
    safe = torch.where(near, 1.0, x)
    return torch.where(near, _series(torch.where(near, x, 0.0)), (torch.exp(safe) * (safe - 1) + 1) / safe**2)


def _series(x: Value) -> Value:
    """Return the sum of x^n / (n! (n + 2)), by Horner's scheme."""
    total = x * 0.0
    for n in range(TERMS, -1, -1):
        total = total * x + 1 / (math.factorial(n) * (n + 2))
    return total
