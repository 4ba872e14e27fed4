"""How the two branches of a residual block are joined, element by element."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Join = Callable[[Tensor, Tensor], Tensor]


def add(a: Tensor, b: Tensor) -> Tensor:
    """Return `a + b`: spikes become integers, up to one more with every block.

    Reference: Fang et al. 2021 (arXiv 2102.04159), equation for ADD, from the authors' code, as `both` and `iand`.
    """
    return a + b


def both(a: Tensor, b: Tensor) -> Tensor:
    """Return `a b`, the logical AND of spikes."""
    return a * b


def beside(a: Tensor, b: Tensor) -> Tensor:
    """Return the channels of the shortcut `b`, and behind them those of the branch `a`, along axis 2."""
    return torch.cat([b, a], 2)


def iand(a: Tensor, b: Tensor) -> Tensor:
    """Return `(1 - a) b`: spikes of the shortcut `b` where the branch `a` is silent."""
    return (1 - a) * b


def either(a: Tensor, b: Tensor) -> Tensor:
    """Return `a + b - a b`, the logical OR of spikes; its derivatives are `1 - b` and `1 - a`.

    Reference: Shan et al. 2023 (arXiv 2311.06570), from the authors' code, which runs each branch twice, so that the
    second call starts from the membranes that the first one left. A block here runs each branch once.

    >>> import torch
    >>> a, b = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])
    >>> [join(a, b).tolist() for join in JOINS.values()]
    [[0.0, 1.0, 1.0, 2.0], [0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0]]
    """
    return a + b - a * b


JOINS: dict[str, Join] = {"add": add, "and": both, "iand": iand, "or": either}
