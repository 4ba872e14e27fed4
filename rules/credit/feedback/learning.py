"""How feedback is learned from noise that a synapse answers to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.contract import Cost
from rules.credit.feedback.products import answered, mirrored, reached
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
    drawn = normal((noise, *reached(module, features)), rng, matrix)
    with torch.no_grad():
        answer = answered(module, drawn)
        found = (1 - decay) * matrix + rate * mirrored(module, drawn, answer)
    operations = pairs(module, (drawn,), answer)
    return found, Cost(
        weight_operations=2 * operations,
        multiplications=2 * operations,
        gaussian_draws=drawn.numel(),
    )
