"""Random directions in the shape of a tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from rules import draws


def signs_like(value: Tensor, rng: torch.Generator) -> Tensor:
    """Draw plus or minus one with equal probability, in the shape of `value`."""
    return (draws.integers(0, 2, value.shape, rng, value) * 2 - 1).to(value.dtype)


def normal_like(value: Tensor, rng: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw standard normal numbers in the shape of `value`; in `dtype` first, so that all others get equal numbers."""
    return draws.normal(value.shape, rng, value.new_empty(0, dtype=dtype)).to(value.dtype)


# Bytes of probes at a time on a CPU. Of 4, 8, 16 and 32 MB, 16 were fastest for convolutions and recurrent cells on a
# core with 32 MB of cache, by half beside 4, and no worse elsewhere: fewer make more calls, more do not fit.
WORKING_SET = 2**24
