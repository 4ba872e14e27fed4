"""Feedback weights that follow the weights of the way forward, by the updates that these get."""

from __future__ import annotations

import torch
from torch import Tensor


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
