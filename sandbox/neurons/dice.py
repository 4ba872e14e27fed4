"""Random numbers computed from a key in the state, so that a stochastic neuron has no hidden generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rules.steps import wide_dtype

BITS = 24  # random bits in a draw: exact in float32, so float32 and float64 see the same draws
GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed number


def fresh(generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Return a key, an int64 scalar on the device of `like`, drawn from a generator; zero without one."""
    if generator is None:
        return torch.zeros((), dtype=torch.int64, device=like.device)
    key = torch.randint(2**62, (), generator=generator, device=generator.device)
    return key.to(like.device)


def following(key: Tensor) -> Tensor:
    """Return the key of the next step."""
    return key + GOLDEN


def uniform(key: Tensor, like: Tensor, stream: int = 0) -> Tensor:
    """Draw a number for each element of `like`, uniform on the 2^24 midpoints of (0, 1).

    SplitMix64's finaliser is applied to a counter in the wrap-around arithmetic of int64, so every device gives the
    same numbers. Different streams of one key are independent. Numbers for half precision are float32, because it would
    round some of them to 0 and 1.

    >>> u = uniform(torch.tensor(7), torch.zeros(100_000))
    >>> 0.497 < float(u.mean()) < 0.503
    True

    Reference: Steele, Lea & Flood 2014, Fast splittable pseudorandom number generators (doi 10.1145/2660193.2660195).
    """
    cells = torch.arange(like.numel(), dtype=torch.int64, device=like.device).reshape(like.shape)
    offset = (stream * 1442695040888963407 + 2**63) % 2**64 - 2**63  # as int64 wraps around
    bits = _mixed(_mixed(key + offset) + cells * GOLDEN)
    return (_shifted(bits, 64 - BITS).to(wide_dtype(like)) + 0.5) * 2.0**-BITS


def normal(key: Tensor, like: Tensor, stream: int = 0) -> Tensor:
    """Draw a standard normal number for each element of `like`, by the inverse of the distribution function.

    >>> 0.99 < float(normal(torch.tensor(7), torch.zeros(100_000)).std()) < 1.01
    True
    """
    u = uniform(key, like.to(torch.float64), stream)
    return (math.sqrt(2) * torch.erfinv(2 * u - 1)).to(like.dtype)


DRAWS = {"uniform": uniform, "normal": normal}


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros: torch's `>>` is arithmetic and copies the sign bit."""
    return torch.bitwise_and(x >> by, (1 << (64 - by)) - 1)


def _mixed(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * -4658895280553007687
    z = (z ^ _shifted(z, 27)) * -7723592293110705685
    return z ^ _shifted(z, 31)
