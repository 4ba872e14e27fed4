"""The buffers of a kernel by name: its inputs apart from the currents, and its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sandbox.kernels.launch import compiled
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit import Variant, saved
from sandbox.machine.memory import empty


def per_cell(params: Sequence[Tensor]) -> tuple[bool, ...]:
    """Return which parameters have a value for each cell."""
    return tuple(p.ndim > 0 for p in params)


def read(params: Sequence[Tensor], draws: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the buffers that a kernel reads apart from currents and states, by name."""
    cells = {f"p{i}": p.contiguous() for i, p in enumerate(params) if p.ndim}
    return cells | {f"d{i}": d.contiguous() for i, d in enumerate(draws)}


def numbers(constants: Tensor, params: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return the constants, followed by the parameters that all cells share.

    A parameter with a value for each cell is replaced by a zero, so that `p3` is always the fourth after the constants.
    """
    shared = [p.detach() if p.ndim == 0 else p.new_zeros(()) for p in params]
    return torch.cat([constants.to(like), torch.stack(shared)]) if shared else constants.to(like)


class Forward(NamedTuple):
    """The buffers of a forward kernel: outputs `[T, M]`, states `[M]`, saved states; and all of them by name."""

    outs: list[Tensor]
    ends: list[Tensor]
    saves: list[Tensor]
    named: dict[str, Tensor]


def forward_buffers(
    structure: Structure, variant: Variant, x: Tensor, states: Sequence[Tensor], every: int = 1
) -> Forward:
    """Allocate the buffers for `x` `[T, M]`, with a row of saved states for every `every`-th step.

    The kernel overwrites the first state with the last in place, so it gets a copy.
    """
    kept = saved(structure, variant) if variant.save else []
    outs = [
        x.new_empty((len(x), -(-x.shape[1] // 64)), dtype=torch.int64) if variant.bits and i == 0 else empty(x.shape, x)
        for i in range(len(structure.outputs))
    ]
    ends = [state.clone(memory_format=torch.contiguous_format) for state in states]
    saves = [empty((-(-len(x) // every), x.shape[1]), x) for _ in kept]
    named = {f"out{i}": out for i, out in enumerate(outs)} | {f"s{i}": end for i, end in enumerate(ends)}
    return Forward(outs, ends, saves, named | {f"save_{name}": each for name, each in zip(kept, saves, strict=True)})


class Backward(NamedTuple):
    """The buffers of a backward kernel: gradients of states `[M]` and of inputs; and all buffers by name."""

    bars: list[Tensor]
    found: dict[str, Tensor]
    named: dict[str, Tensor]


def backward_buffers(
    structure: Structure,
    variant: Variant,
    x: Tensor,
    saves: Sequence[Tensor],
    params: Sequence[Tensor],
    ends: Sequence[Tensor],
    key: str,
) -> Backward:
    """Allocate the buffers for the gradients of the variant, and add the states that the forward kernel saved.

    The kernel overwrites the gradient of the last state with that of the first in place, so it gets a copy.
    """
    bars = [end.clone(memory_format=torch.contiguous_format) for end in ends]
    found = {name: gradient(name, x, params, key) for name in variant.wanted}
    named = {f"g_end{i}": bar for i, bar in enumerate(bars)} | {f"g_{name}": g for name, g in found.items()}
    kept = zip(saved(structure, variant), saves, strict=True)
    return Backward(bars, found, named | {f"save_{name}": save.contiguous() for name, save in kept})


def gradient(name: str, x: Tensor, params: Sequence[Tensor], key: str) -> Tensor:
    """Allocate the buffer of a gradient; for a parameter that all cells share, it has a number for each block."""
    if name[0] != "p":  # the kernel writes every entry, but does not run if `x` is empty
        return x.new_zeros(x.shape) if not x.numel() else empty(x.shape, x)
    if params[int(name[1:])].ndim:
        return x.new_zeros(x.shape[1:])
    return x.new_zeros(compiled.blocks(key, x.shape[1]))


def summed(parts: Tensor) -> Tensor:
    """Sum over the blocks, in an order that does not depend on the number of threads."""
    return parts.sum() if parts.is_cuda else torch.as_tensor(parts.numpy().sum(), dtype=parts.dtype)
