"""Random numbers for tensors on any device: drawn on the generator's device, in the order of the indices, then moved.

So a generator of the CPU serves tensors on every device, with the same numbers, whatever their layout in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rules.steps import wide_dtype


def uniform(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draw numbers in [0, 1), in the dtype and on the device of `like`; without a generator from torch's global one.

    For half precision they are float32: bfloat16 would draw multiples of 1/256, so that no probability below that is
    met when they are compared with it.

    >>> uniform((2, 3), torch.Generator().manual_seed(0), torch.zeros(1)).shape
    torch.Size([2, 3])
    """
    return torch.rand(tuple(shape), **_place(generator, like), dtype=wide_dtype(like)).to(like.device)


def normal(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draw standard normal numbers, as `uniform` does."""
    return torch.randn(tuple(shape), **_place(generator, like), dtype=like.dtype).to(like.device)


def integers(low: int, high: int, shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draw whole numbers from low to high - 1 as int64, on the device of `like`."""
    return torch.randint(low, high, tuple(shape), **_place(generator, like)).to(like.device)


def binomial(count: int, chance: Tensor, generator: torch.Generator) -> Tensor:
    """Draw how many of `count` trials succeed, with a probability for each entry."""
    at = chance.to(generator.device).contiguous()
    return torch.binomial(torch.full_like(at, count), at, generator=generator).to(chance.device)


def _place(generator: torch.Generator | None, like: Tensor) -> dict[str, Any]:
    return {"generator": generator, "device": like.device if generator is None else generator.device}


def scale(weight: Tensor) -> float:
    """Return the root mean square of a weight; `1 / sqrt(fan_in)` where all of it is zero.

    A random matrix of this size carries back an error of the same norm, on average, as the weight itself would.

    >>> scale(torch.tensor([[3.0, -3.0]])), scale(torch.zeros(2, 4))
    (3.0, 0.5)
    """
    found = float(weight.detach().double().square().mean().sqrt())
    return found or float(weight[0].numel()) ** -0.5
