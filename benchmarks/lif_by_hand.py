"""Leaky integrate-and-fire written without this library: a loop in torch, and a kernel in numba.

    u[t] = x[t] + (v[t-1] - x[t]) k,   s[t] = u[t] >= 1,   v[t] = u[t] (1 - s[t])  or  u[t] - s[t]

with the slope 1 / (1 + (pi (u - 1))^2) for the step, through the reset as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

TAU = 20.0  # steps
KEPT = math.exp(-1 / TAU)
BLOCK = 1024  # cells whose membranes stay in the cache
WAYS = ("to_value", "subtract")


class Step(torch.autograd.Function):
    """The threshold with its surrogate."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 1).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return error / (1 + (math.pi * (u - 1)) ** 2)


def plain(x: Tensor, reset: str) -> Tensor:
    """Run the loop over `x` [T, ...]."""
    v, spikes = torch.zeros_like(x[0]), []
    for now in x.unbind(0):
        u = torch.lerp(now, v, KEPT)
        s = Step.apply(u)
        v = u - s if reset == "subtract" else u * (1 - s)
        spikes.append(s)
    return torch.stack(spikes)


class Fused(torch.autograd.Function):
    """Run the same loop in numba."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, reset: str) -> Tensor:
        rows = x.detach().reshape(len(x), -1)
        spikes, kept = torch.empty_like(rows), torch.empty_like(rows)
        kernels(reset)[0](rows.numpy(), spikes.numpy(), kept.numpy())
        ctx.save_for_backward(kept)
        ctx.reset = reset
        return spikes.reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        found = torch.empty_like(kept)
        kernels(ctx.reset)[1](error.reshape(kept.shape).contiguous().numpy(), kept.numpy(), found.numpy())
        return found.reshape(error.shape), None


def fused(x: Tensor, reset: str) -> Tensor:
    return Fused.apply(x, reset)


_MADE: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {}


def kernels(reset: str) -> tuple[Callable[..., None], Callable[..., None]]:
    """Return forward and backward, compiled at the first call."""
    if reset not in _MADE:
        _MADE[reset] = make(reset == "subtract")
    return _MADE[reset]


def make(subtract: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    from numba import njit

    k, rest, one, pi = np.float32(KEPT), np.float32(1 - KEPT), np.float32(1), np.float32(math.pi)

    @njit(error_model="numpy")
    def forward(x, spikes, kept):
        steps, cells = x.shape
        for first in range(0, cells, BLOCK):
            width = min(BLOCK, cells - first)
            v = np.zeros(BLOCK, np.float32)
            for t in range(steps):
                now, out, saved = x[t, first:], spikes[t, first:], kept[t, first:]
                for j in range(width):
                    u = v[j] * k + now[j] * rest
                    s = one if u >= one else np.float32(0)
                    saved[j] = u
                    out[j] = s
                    v[j] = u - s if subtract else u * (one - s)

    @njit(error_model="numpy")
    def backward(error, kept, found):
        steps, cells = kept.shape
        for first in range(0, cells, BLOCK):
            width = min(BLOCK, cells - first)
            bar = np.zeros(BLOCK, np.float32)
            for t in range(steps - 1, -1, -1):
                e, saved, out = error[t, first:], kept[t, first:], found[t, first:]
                for j in range(width):
                    u = saved[j]
                    w = pi * (u - one)
                    slope = one / (one + w * w)
                    after = bar[j]
                    if subtract:
                        of_u = after + (e[j] - after) * slope
                    else:
                        through = after if u < one else np.float32(0)
                        of_u = through + (e[j] - after * u) * slope
                    out[j] = of_u * rest
                    bar[j] = of_u * k

    return forward, backward
