"""Divided differences of the exponential over any number of points, which may be close or equal.

They are symmetric and positive. For sorted points, with d = x_n - x_0,

    f[x_0, ..., x_n] = (f[x_1, ..., x_n] - f[x_0, ..., x_{n-1}]) / d              where d is large
                     = exp(x_0) Σ_j h_j(x_1 - x_0, ..., x_n - x_0) / (j + n)!     otherwise

with the complete homogeneous symmetric polynomials h_j, whose terms are all positive, so that nothing cancels. The
first line loses a factor of about 2 n / d. Of two points it is `exp(x_1) exprel(x_0 - x_1)`. Reference: McCurdy, Ng &
Parlett 1984 (doi 10.1090/S0025-5718-1984-0758198-0; reconstructed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sandbox.neurons.exprel import exprel


class Series(NamedTuple):
    """A series of `terms` for points within `apart`, whose next term is below half a rounding of the sum."""

    apart: float
    terms: int


NUMBERS = Series(2.0, 24)
# Kernels are made from the operations on tensors, in a time that grows with the cube of the terms: 12 of them leave
# float64 a loss of 1e-13 for four points and 1e-12 for five, and float32 none.
TENSORS = {torch.float64: Series(0.3, 12)}
SHORT = Series(1.0, 12)  # of other dtypes


def divided(*points: Any) -> Any:
    """Return `exp[x_0, ..., x_n]`, with an accurate derivative; of numbers a number, else a tensor.

    Args:
        points: numbers, or tensors that broadcast.

    >>> divided(0.0, 0.0, 0.0), divided(1.0, 1.0)
    (0.5, 2.718281828459045)
    >>> x = torch.tensor([0.0, -1.0], dtype=torch.float64)
    >>> divided(x, 0.0, x)
    tensor([0.5000, 0.2642], dtype=torch.float64)
    """
    if not any(isinstance(point, Tensor) for point in points):
        return _of_numbers(sorted(map(float, points)))
    first = next(point for point in points if isinstance(point, Tensor))
    tensors = [torch.as_tensor(point, dtype=first.dtype, device=first.device) for point in points]
    return torch.exp(first) if len(points) == 1 else _of_tensors(_sorted(tensors))


def _of_numbers(points: Sequence[float]) -> float:
    low, apart = points[0], points[-1] - points[0]
    if len(points) == 1:
        return _exp(low)
    if not math.isfinite(apart):
        return math.nan
    if apart > NUMBERS.apart:
        return (_of_numbers(points[1:]) - _of_numbers(points[:-1])) / apart
    return _exp(low) * float(_series([point - low for point in points[1:]], 1.0, NUMBERS.terms))


def _of_tensors(points: Sequence[Tensor]) -> Tensor:
    low, high = points[0], points[-1]
    if len(points) == 2:
        pair: Tensor = torch.exp(high) * exprel(low - high)
        return pair
    series = TENSORS.get(low.dtype, SHORT)
    apart = high - low
    far = apart > series.apart
    # what is not selected has a finite value and derivative, because its NaN would reach the gradient
    near = [torch.where(far, 0.0, point - low) for point in points[1:]]
    total: Tensor = torch.exp(low) * _series(near, torch.ones_like(apart), series.terms)
    quotient = (_of_tensors(points[1:]) - _of_tensors(points[:-1])) / torch.where(far, apart, 1.0)
    return torch.where(far, quotient, total)


def _series(apart: Sequence[Any], one: Any, terms: int) -> Any:
    """Return the sum over j of h_j / (j + n)!, for n differences; h_j of x_1 ... x_m is h_j of fewer + x_m h_{j-1}."""
    n = len(apart)
    total = one * (1 / math.factorial(n))
    sums = [one] * n  # h_0 of the first 1, 2, ... n differences
    for j in range(1, terms + 1):
        here: list[Any] = []
        for x, before in zip(apart, sums, strict=True):
            here.append(x * before + here[-1] if here else x * before)
        sums = here
        total = total + sums[-1] * (1 / math.factorial(j + n))
    return total


def _sorted(points: Sequence[Tensor]) -> list[Tensor]:
    """Return points in order, element by element, by operations that kernels have."""
    found: list[Tensor] = []
    for point in points:
        for at, other in enumerate(found):
            found[at], point = torch.minimum(other, point), torch.maximum(other, point)
        found.append(point)
    return found


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.0 else math.inf
