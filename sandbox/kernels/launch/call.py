"""Handing arrays to a compiled kernel of whichever back end."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sandbox.kernels.launch.compiled import Loaded
from sandbox.kernels.launch.registered import TRITON
from sandbox.kernels.write.emit import Variant


def call(
    key: str,
    direction: str,
    variant: Variant,
    x: Tensor,
    buffers: Mapping[str, Tensor],
    numbers: Tensor,
    every: int = 1,
) -> None:
    """Run a kernel over `x` `[T, M]`; it writes into the buffers.

    `numbers` are the constants of the neuron and then the parameters that all cells share. Buffers are contiguous, of
    the dtype of `x`; `x` may stand still in time.
    """
    if key.startswith(TRITON):
        from sandbox.kernels.launch import triton_call

        triton_call.call(key, direction, variant, x, buffers, numbers, every)
        return
    stride = x.stride(0) if len(x) > 1 else 0
    Loaded(key, direction, variant, x.dtype, {"x": x, **buffers}, numbers).run(len(x), x.shape[1], stride, every)
