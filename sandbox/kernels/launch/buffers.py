"""What the operators hand to a kernel beside currents and states, and where it writes gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sandbox.kernels.launch import compiled
from sandbox.machine.memory import empty


def per_cell(params: Sequence[Tensor]) -> tuple[bool, ...]:
    """Which parameters have a value for each cell."""
    return tuple(p.ndim > 0 for p in params)


def read(params: Sequence[Tensor], draws: Sequence[Tensor]) -> dict[str, Tensor]:
    """What a kernel reads beside currents and states, by name."""
    cells = {f"p{i}": p.contiguous() for i, p in enumerate(params) if p.ndim}
    return cells | {f"d{i}": d.contiguous() for i, d in enumerate(draws)}


def numbers(constants: Tensor, params: Sequence[Tensor], like: Tensor) -> Tensor:
    """The constants, and then the parameters that all cells share."""
    shared = [p.detach() if p.ndim == 0 else p.new_zeros(()) for p in params]
    return torch.cat([constants.to(like), torch.stack(shared)]) if shared else constants.to(like)


def gradient(name: str, x: Tensor, params: Sequence[Tensor], key: str) -> Tensor:
    """Where a gradient is written: a number for each block where all cells share a parameter."""
    if name[0] != "p":
        return x.new_zeros(x.shape) if not x.numel() else empty(x.shape, x)
    if params[int(name[1:])].ndim:
        return x.new_zeros(x.shape[1:])
    return x.new_zeros(compiled.blocks(key, x.shape[1]))


def summed(parts: Tensor) -> Tensor:
    """The sum over the blocks, in an order that no number of threads changes."""
    return parts.sum() if parts.is_cuda else torch.as_tensor(parts.numpy().sum(), dtype=parts.dtype)
