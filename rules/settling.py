"""A state that is changed until it rests, or a report of how far it is from rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROUNDING = 16.0  # units of round-off of the state: a sum of some hundred terms does not rest more closely


class NotSettled(ValueError):
    """Raised for a network that has not come to rest; nothing has been changed."""


class Moved(NamedTuple):
    """What one step of a relaxation did."""

    state: Any
    change: float  # norm of the change
    scale: float  # norm that the change is compared with
    size: float = 0.0  # norm of the state, whose round-off is no change


def settle(
    step: Callable[[Any], Moved], state: Any, steps: int, tolerance: float, dtype: torch.dtype, remedy: str
) -> tuple[Any, int]:
    """Return the state at rest, and the number of steps that it took.

    It rests where `change <= tolerance * scale`, or where the change is round-off of the state.

    Args:
        step: takes a step from a state.
        state: the first one.
        steps: the most steps.
        tolerance: relative.
        dtype: of the state, for its round-off.
        remedy: ends the message of the exception.

    Raises:
        NotSettled: with the last change, relative to the scale.

    >>> half = lambda x: Moved(x / 2, abs(x) / 2, 1.0)
    >>> settle(half, 1.0, 20, 1e-3, torch.float64, "")
    (0.0009765625, 10)
    """
    floor = ROUNDING * torch.finfo(dtype).eps
    change = scale = 0.0
    for count in range(1, steps + 1):
        state, change, scale, size = step(state)
        if not math.isfinite(change + scale + size):  # before they are compared: inf <= inf
            raise NotSettled(f"the state grew beyond all numbers in {count} steps: {remedy}")
        if change <= max(tolerance * scale, floor * size):
            return state, count
    raise NotSettled(
        f"the state still moves after {steps} steps, by {change / scale if scale else change:.3g} of its scale, and "
        f"tolerance={tolerance:g}: {remedy}"
    )


def norm(tensors: list[Tensor]) -> float:
    """Return the Euclidean norm of several tensors together.

    >>> norm([torch.tensor([3.0]), torch.tensor([4.0])])
    5.0
    """
    return float(torch.stack([tensor.detach().square().sum() for tensor in tensors]).sum().sqrt()) if tensors else 0.0
