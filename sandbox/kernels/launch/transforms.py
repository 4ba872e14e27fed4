"""The operators for torch.func.grad, which requires autograd functions with a flat list of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.kernels.launch.ops import back, keep, run, run_backward, twice


class Transformable(torch.autograd.Function):
    """`run` for torch.func.grad, which does not support operators; its lists are flattened into one."""

    generate_vmap_rule = True

    @staticmethod
    def forward(counts: tuple[int, ...], key: str, every: int, constants: Tensor, *tensors: Tensor) -> Any:
        return tuple(run(*_parted(counts, tensors), constants, key, every))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        counts, key, every, constants, *tensors = inputs
        ctx.free, ctx.versioned = ctx.needs_input_grad[4:], False
        keep(ctx, [*_parted(counts, tensors), constants, key, every], output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        of_x, of_states, of_params, of_draws = back(ctx, grads, _transformed_backward)[:4]
        return None, None, None, None, of_x, *of_states, *of_params, *of_draws


class TransformableBackward(torch.autograd.Function):
    """`run_backward` for torch.func.grad."""

    generate_vmap_rule = True

    @staticmethod
    def forward(counts: tuple[int, ...], how: tuple[Any, ...], constants: Tensor, *tensors: Tensor) -> Any:
        x, saves, params, draws, outs, ends = _parted(counts, tensors)
        return tuple(run_backward(x, saves, params, draws, constants, outs, ends, *how))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Save nothing: there is no second derivative."""

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return twice(ctx, *grads)


def _transformed_backward(
    x: Tensor, saves: Any, params: Any, draws: Any, constants: Tensor, outs: Any, ends: Any, *how: Any
) -> Any:
    lists = saves, params, draws, outs, ends
    flat = (tensor for each in lists for tensor in each)
    return TransformableBackward.apply(tuple(map(len, lists)), how, constants, x, *flat)  # type: ignore[no-untyped-call]


def _parted(counts: Sequence[int], tensors: Sequence[Tensor]) -> list[Any]:
    """Return the first tensor, followed by the others in lists of these lengths."""
    parts: list[Any] = [tensors[0]]
    start = 1
    for count in counts:
        parts.append(list(tensors[start : start + count]))
        start += count
    return parts


def transformed(x: Tensor, states: Any, params: Any, draws: Any, constants: Tensor, key: str, every: int) -> Any:
    """Call `run` under a transform of torch.func."""
    counts = len(states), len(params), len(draws)
    return Transformable.apply(counts, key, every or 1, constants, x, *states, *params, *draws)  # type: ignore[no-untyped-call]
