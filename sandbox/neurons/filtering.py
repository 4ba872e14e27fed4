"""The product of a filter over time with a sequence, and its gradient, in blocks that a processor multiplies fast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from sandbox.machine.memory import empty

BLOCK = (512, 4096)  # columns of a block: least and greatest
SMALL = 2**16  # numbers of a sequence below which one product is as fast


def filtered(weight: Tensor, x: Tensor, v_threshold: Tensor) -> Tensor:
    """Return `weight @ x - v_threshold` over time: `[T, S]`, `[S, ...]` and `[T]` give `[T, ...]`.

    A product with 32 rows and 131,072 columns takes three times as long in one piece, and most of that for memory that
    is taken from the system anew; `benchmarks/parallel_cells.py` measures the whole.

    >>> filtered(torch.eye(2), torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 0.5])).tolist()
    [[1.0], [1.5]]
    """
    flat = x.flatten(1) if x.ndim > 1 else x[:, None]
    columns = width(flat)
    if columns is None:
        u = torch.addmm(-v_threshold[:, None], weight, flat)
    else:
        u = Filtered.apply(weight, flat, v_threshold, columns)  # type: ignore[no-untyped-call]
    return u.reshape(len(weight), *x.shape[1:])


def width(flat: Tensor) -> int | None:
    """Return the columns of a block, a divisor of all; None where the product is better left whole."""
    special = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    forward = forward_ad._current_level >= 0
    if special or forward or flat.device.type != "cpu" or flat.numel() < SMALL or not flat.is_contiguous():
        return None
    least, most = BLOCK
    return next((n for n in range(most, least - 1, -1) if flat.shape[1] % n == 0), None)


class Filtered(torch.autograd.Function):
    """`weight @ x - v_threshold`, a batched product over blocks of columns, into memory that is kept."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, v_threshold: Tensor, columns: int) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.columns = columns
        return product(weight, x, columns).sub_(v_threshold[:, None])

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        weight, x = ctx.saved_tensors
        if torch.is_grad_enabled():  # for gradients of gradients
            return error @ x.t(), weight.t() @ error, -error.sum(1), None
        error = error.contiguous()
        into, back, by = ctx.needs_input_grad[:3]
        blocks = blocked(error, ctx.columns), blocked(x, ctx.columns).transpose(1, 2)
        return (
            torch.bmm(*blocks).sum(0) if into else None,
            product(weight.t(), error, ctx.columns) if back else None,
            -error.sum(1) if by else None,
            None,
        )


def blocked(x: Tensor, columns: int) -> Tensor:
    """Return a view `[blocks, T, columns]` of `[T, blocks * columns]`."""
    return x.view(len(x), -1, columns).transpose(0, 1)


def product(weight: Tensor, x: Tensor, columns: int) -> Tensor:
    """Return `weight @ x`, `[T, N]`, block by block."""
    made = empty((len(weight), x.shape[1]), x)
    blocks = blocked(x, columns)
    torch.bmm(weight.expand(len(blocks), *weight.shape), blocks, out=blocked(made, columns))
    return made
