"""A structure, compiled and called: buffers by name, blocks by thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.neurons.kernels import store
from sandbox.neurons.kernels.backends import by_triton
from sandbox.neurons.kernels.choice import choice
from sandbox.neurons.kernels.emit import Variant
from sandbox.neurons.kernels.emit_backward import backward
from sandbox.neurons.kernels.emit_forward import forward
from sandbox.neurons.kernels.structure import Structure
from sandbox.neurons.kernels.triton_words import WIDTH, spelled
from sandbox.threads import share_out

STRUCTURES: dict[str, Structure] = {}  # by key: what the operators of `ops` are told to run
TRITON = "triton "  # before the key of a structure that Triton is to compile
REALS = {torch.float32: np.float32, torch.float64: np.float64}
WRITERS = {"forward": forward, "backward": backward}
_LOCK = threading.Lock()


def register(structure: Structure, device: torch.device) -> str:
    """The key by which the operators know a structure, and the back end that is to compile it for a device."""
    if not by_triton(device, choice().mode):
        return STRUCTURES.setdefault(structure.key, structure).key
    key = TRITON + structure.key
    if key not in STRUCTURES:
        spelled(structure)
        STRUCTURES[key] = structure
    return key


@lru_cache(maxsize=256)
def _kernel(key: str, direction: str, variant: Variant, dtype: torch.dtype) -> tuple[Any, list[str]]:
    source, names = WRITERS[direction](STRUCTURES[key], variant)
    return store.compiled(source, REALS[dtype]), names


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
        from sandbox.neurons.kernels import triton_call

        triton_call.call(key, direction, variant, x, buffers, numbers, every)
        return
    with _LOCK:
        kernel, names = _kernel(key, direction, variant, x.dtype)
    steps, cells = x.shape
    width = block(cells)
    stride = x.stride(0) if steps > 1 else 0
    given = {"x": x, **buffers}
    addresses = np.array([given[name].data_ptr() for name in names], dtype=np.int64)
    numbers = numbers.contiguous()
    share_out(
        lambda first, last: kernel(first, last, width, steps, cells, stride, every, addresses, numbers.data_ptr()),
        cells,
        width,
    )


def blocks(key: str, cells: int) -> int:
    """The sums of a parameter that all cells share: one for each block."""
    return -(-cells // (WIDTH if key.startswith(TRITON) else block(cells)))


def block(cells: int) -> int:
    """The cells of a block: many, so that memory is read in long rows, but several blocks where cells are few.

    >>> block(100_000), block(1000), block(3)
    (1024, 256, 64)
    """
    return min(1024, max(64, -(-cells // 4 // 64) * 64))
