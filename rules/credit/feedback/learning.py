"""How feedback is learned: from noise that a synapse answers to, or from the update that its weight gets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.contract import Cost
from rules.credit.feedback.products import answered, mirrored
from rules.draws import normal
from rules.metering import pairs


def mirror(
    module: Any, matrix: Tensor, features: tuple[int, ...], noise: int, decay: float, rate: float, rng: torch.Generator
) -> tuple[Tensor, Cost]:
    """Return a weight mirror after one phase of noise, and the cost of that phase.

        B <- (1 - decay) B + rate (W xi) xi^T,    xi ~ N(0, 1), the mean over `noise` samples

    Both products of the phase, there and for the change, are counted as work on weights: it is the same for any batch.
    Its fixed point is `rate / decay` W. There the noise of each entry leaves a cosine of about
    `1 / sqrt(1 + fan_in decay / (2 noise))` between B and W.
    """
    drawn = normal((noise, *features), rng, matrix)
    with torch.no_grad():
        answer = answered(module, drawn)
        found = (1 - decay) * matrix + rate * mirrored(module, drawn, answer)
    operations = pairs(module, (drawn,), answer)
    return found, Cost(
        weight_operations=2 * operations,
        multiplications=2 * operations,
        gaussian_draws=drawn.numel(),
    )


def followed(matrix: Tensor, weight: Tensor, before: Tensor, decay: float) -> Tensor:
    """Return feedback after the update that its weight got since the step before, and the same decay.

        u = W[k+1] - (1 - decay) W[k],    B[k+1] = (1 - decay) B[k] + u

    so that `B - W` shrinks by the factor `1 - decay` in every update, whatever the data. Without an update, as between
    accumulated steps, nothing changes.

    >>> followed(torch.tensor([1.0]), torch.tensor([0.4]), torch.tensor([0.5]), decay=0.1) - 0.4
    tensor([0.4500])
    """
    if torch.equal(weight, before):
        return matrix
    return (1 - decay) * matrix + (weight - (1 - decay) * before)
