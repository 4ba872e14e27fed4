"""Find the resting potential of a neuron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from sandbox.neurons.base import N, smallest

PIECES = 400  # intervals of the grid in each round
ROUNDS = 7  # 400^-7 of the first interval is below the rounding of float64


def lowest_root(f: Callable[[Tensor], Tensor], low: float, high: float) -> float:
    """Return the first sign change of `f` above `low`, to rounding; `high` if there is none.

    `f` takes a tensor of potentials. Two sign changes closer together than 1/400 of the interval are missed.

    >>> round(lowest_root(lambda x: x**2 - 2, 0.0, 2.0), 12)
    1.414213562373
    """
    for _ in range(ROUNDS):
        grid = torch.linspace(low, high, PIECES + 1, dtype=torch.float64)
        with torch.no_grad():
            sign = f(grid) > 0
        changes = (sign[1:] != sign[:-1]).nonzero()
        if not len(changes):
            return high
        first = int(changes[0])
        low, high = float(grid[first]), float(grid[first + 1])
    return (low + high) / 2


def plain(neuron: N) -> N:
    """Return the neuron with a plain number in every field; the smallest entry of a learned one."""
    values = {f.name: getattr(neuron, f.name) for f in fields(neuron)}
    learned = {name: smallest(value) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(neuron, **learned) if learned else neuron
