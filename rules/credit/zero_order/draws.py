"""Random directions in the shape of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor


def signs_like(value: Tensor, dice: torch.Generator) -> Tensor:
    """Plus or minus one, with equal chances."""
    return (torch.randint(0, 2, value.shape, generator=dice) * 2 - 1).to(value)


def normal_like(value: Tensor, dice: torch.Generator) -> Tensor:
    """Standard normal."""
    return torch.randn(value.shape, generator=dice, dtype=torch.float64).to(value)


WORKING_SET = 2**22  # bytes of probes at a time on a processor: larger batches leave its caches and fault in pages
