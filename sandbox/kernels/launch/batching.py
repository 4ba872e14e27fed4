"""The operators under vmap: samples become additional cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sandbox.kernels.launch import ops

Dims = Sequence[int | None]


def _first(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Move the samples to the first axis; a tensor that all share is repeated without a copy."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


def _sequence(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Reshape `[T, M]` of each sample to `[T, samples M]`."""
    return _first(x, dim, size).movedim(0, 1).flatten(1)


def _cells(x: Tensor, dim: int | None, size: int, cells: int) -> Tensor:
    """Reshape `[M]` or a number of each sample to `[samples M]`."""
    x = _first(x, dim, size)
    return (x if x.ndim == 2 else x[:, None].expand(size, cells)).flatten()


def _all(change: Any, xs: Sequence[Tensor], dims: Any, *facts: Any) -> list[Tensor]:
    dims = dims if isinstance(dims, (list, tuple)) else [None] * len(xs)
    return [change(x, dim, *facts) for x, dim in zip(xs, dims, strict=True)]


def _apart(x: Tensor, size: int) -> Tensor:
    """Separate the samples again, along the first axis."""
    parted: Tensor = x.reshape(*x.shape[:-1], size, x.shape[-1] // size).movedim(-2, 0)
    return parted


def run(
    info: Any, dims: Any, x: Tensor, states: Any, params: Any, draws: Any, constants: Tensor, key: str, every: int
) -> tuple[list[Tensor], list[int]]:
    """Run the forward operator for a batch of samples."""
    size, cells = info.batch_size, _cells_of(x, dims[0])
    of_params = dims[2] if isinstance(dims[2], (list, tuple)) else [None] * len(params)
    found = ops.run(
        _sequence(x, dims[0], size),
        _all(_cells, states, dims[1], size, cells),
        [p if d is None and p.ndim == 0 else _cells(p, d, size, cells) for p, d in zip(params, of_params, strict=True)],
        _all(_sequence, draws, dims[3], size),
        constants,
        key,
        every,
    )
    return [_apart(each, size) for each in found], [0] * len(found)


def run_backward(
    info: Any,
    dims: Any,
    x: Tensor,
    saves: Any,
    params: Any,
    draws: Any,
    constants: Tensor,
    outs: Any,
    ends: Any,
    key: str,
    every: int,
    given: Any,
    names: str,
) -> tuple[list[Tensor], list[int]]:
    """Run the backward operator for a batch of samples.

    A parameter that all cells share has a separate gradient for each sample. So it gets a value for each cell here, and
    its gradients are summed over the cells of each sample.
    """
    size, cells = info.batch_size, _cells_of(x, dims[0])
    found = ops.run_backward(
        _sequence(x, dims[0], size),
        _all(_sequence, saves, dims[1], size),
        _all(_cells, params, dims[2], size, cells),
        _all(_sequence, draws, dims[3], size),
        constants,
        _all(_sequence, outs, dims[5], size),
        _all(_cells, ends, dims[6], size, cells),
        key,
        every,
        given,
        names,
    )
    of_params = dims[2] if isinstance(dims[2], (list, tuple)) else [None] * len(params)
    shared = {f"p{i}" for i, (p, d) in enumerate(zip(params, of_params, strict=True)) if p.ndim == (d is not None)}
    parts = [_apart(each, size) for each in found]
    for i, name in enumerate(names.split()):
        if name in shared:
            parts[i] = parts[i].sum(1)
    return parts, [0] * len(parts)


def _cells_of(x: Tensor, dim: int | None) -> int:
    return x.shape[-1] if dim is None or dim % x.ndim < x.ndim - 1 else x.shape[-2]


torch.library.register_vmap(ops.RUN, run)
torch.library.register_vmap(ops.BACKWARD, run_backward)
