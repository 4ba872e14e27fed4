"""The derivatives of cells to first order, of any step of cells that autograd can differentiate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rules.contract import Local

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]  # current, state -> output, next state


def differentiated(step: Step, current: Tensor, state: Sequence[Tensor]) -> Local:
    """Return the derivatives of a step of cells.

    A cell depends on itself alone, so the product of a vector of ones and the Jacobian of one variable has that
    variable's derivative of every cell at once: k + 1 such products for k state variables. How spikes and resets are
    differentiated is set by `rules.spikes.surrogate.differentiating`, as for autograd.

    Args:
        step: `(output, next_state) = step(current, state)`, a state being a tuple of tensors.
        current: input `[B, *out]`.
        state: k tensors `[B, *out]`.

    >>> decay = lambda current, state: (state[0] + current, (0.5 * state[0] + current,))
    >>> local = differentiated(decay, torch.ones(1, 2), (torch.ones(1, 2),))
    >>> local.kept[0, 0, 0].tolist(), local.driven[0, 0].tolist(), local.shown[:, 0].tolist()
    ([0.5, 0.5], [1.0, 1.0], [[1.0, 1.0], [1.0, 1.0]])
    """
    with torch.enable_grad():
        given = [part.detach().requires_grad_() for part in (*state, current)]
        output, after = step(given[-1], tuple(given[:-1]))
        rows = [slopes(part, given) for part in (*after, output)]
    count = len(after) + 1
    table = current.new_empty(count, count, *current.shape)  # of each variable and the output, by states and current
    for place, slope in zip(table.flatten(0, 1), (slope for row in rows for slope in row), strict=True):
        place.copy_(slope)
    return Local(table[:-1, :-1], table[:-1, -1], table[-1])


def slopes(part: Tensor, given: Sequence[Tensor], weights: Tensor | None = None) -> list[Tensor]:
    """Return the product of `weights`, ones by default, and the Jacobian of `part` by each of the tensors given."""
    if not part.requires_grad:
        return [torch.zeros_like(each) for each in given]
    weights = torch.ones_like(part) if weights is None else weights
    found = torch.autograd.grad(part, given, weights, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(each) if slope is None else slope for slope, each in zip(found, given, strict=True)]


def couples(step: Step, current: Tensor, state: Sequence[Tensor]) -> bool:
    """Return whether a cell's next state or output depends on another cell: then `differentiated` would be wrong.

    >>> couples(lambda current, state: (current + current.mean(), ()), torch.ones(1, 3), ())
    True
    """
    rng = torch.Generator().manual_seed(0)
    near = torch.finfo(current.dtype).eps ** 0.5
    with torch.enable_grad():
        given = [part.detach().requires_grad_() for part in (*state, current)]
        output, after = step(given[-1], tuple(given[:-1]))
        for part in (*after, output):
            weights = (torch.rand(part.shape, generator=rng, dtype=torch.float64) + 0.5).to(part)
            for one, many in zip(slopes(part, given), slopes(part, given, weights), strict=True):
                if not torch.allclose(many, one * weights, rtol=near, atol=near * float(one.abs().amax())):
                    return True
    return False
