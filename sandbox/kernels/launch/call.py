"""Call a compiled kernel of either back end."""

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
    """Run a kernel over `x` `[T, M]`; it writes to the buffers.

    Args:
        key: of the structure, from `registered.register`.
        direction: "forward" or "backward".
        variant: of the kernel.
        x: input `[T, M]`; its stride in time may be 0.
        buffers: by name; contiguous, of the dtype of `x`.
        numbers: the constants of the neuron, followed by the parameters that all cells share.
        every: distance of the saved states in steps, 1 by default.
    """
    if key.startswith(TRITON):
        from sandbox.kernels.launch import triton_call

        triton_call.call(key, direction, variant, x, buffers, numbers, every)
        return
    stride = x.stride(0) if len(x) > 1 else 0
    Loaded(key, direction, variant, x.dtype, {"x": x, **buffers}, numbers).run(len(x), x.shape[1], stride, every)
