"""Compile a structure with numba and call it: buffers by name, blocks of cells divided among threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.kernels.launch import store
from sandbox.kernels.launch.registered import STRUCTURES, TRITON, WRITERS
from sandbox.kernels.write.emit import Variant
from sandbox.kernels.write.triton_words import WIDTH
from sandbox.machine.threads import share_out

REALS = {torch.float32: np.float32, torch.float64: np.float64}
MOST = 256  # kernels that are kept
_KERNELS: dict[tuple[str, str, Variant, torch.dtype], tuple[Any, list[str]]] = {}
_LOCK = threading.Lock()


def _released() -> None:
    """Make a new lock in a forked child, where the thread that held the old one does not exist."""
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_released)


def kernel(key: str, direction: str, variant: Variant, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """Return a compiled kernel and the names of its buffers; one thread at a time compiles."""
    which = key, direction, variant, dtype
    found = _KERNELS.get(which)
    if found is not None:
        return found
    with _LOCK:
        if which not in _KERNELS:
            source, names = WRITERS[direction](STRUCTURES[key], variant)
            if len(_KERNELS) >= MOST:
                _KERNELS.clear()
            _KERNELS[which] = store.compiled(source, REALS[dtype]), names
        return _KERNELS[which]


def forget() -> None:
    """Forget the compiled kernels of this process; those on the disk stay."""
    with _LOCK:
        _KERNELS.clear()
        store.compiled.cache_clear()


class Loaded:
    """A kernel with the addresses of its buffers."""

    def __init__(
        self,
        key: str,
        direction: str,
        variant: Variant,
        dtype: torch.dtype,
        buffers: Mapping[str, Tensor],
        numbers: Tensor,
    ) -> None:
        self.kernel, names = kernel(key, direction, variant, dtype)
        self.buffers = [buffers[name] for name in names]  # kept alive as long as their addresses are used
        self.numbers = numbers.contiguous()
        self.addresses = np.array([buffer.data_ptr() for buffer in self.buffers], dtype=np.int64)
        rows = [b.stride(0) * b.element_size() if b.ndim > 1 and len(b) > 1 else 0 for b in self.buffers]
        self.strides = np.array(rows, dtype=np.int64)  # bytes from one step to the next; 0 for a single row

    def run(self, steps: int, cells: int, stride: int, every: int = 1) -> None:
        """Run all steps of all cells; `stride` is the distance of two rows of the input in elements."""
        self._share_out(steps, cells, stride, every, self.addresses)

    def step(self, t: int, cells: int) -> None:
        """Run step `t` only: row `t` of every buffer that has several rows."""
        self._share_out(1, cells, 0, 1, self.addresses + t * self.strides)

    def _share_out(self, steps: int, cells: int, stride: int, every: int, addresses: Any) -> None:
        width, numbers = block(cells), self.numbers.data_ptr()
        share_out(
            lambda first, last: self.kernel(first, last, width, steps, cells, stride, every, addresses, numbers),
            cells,
            width,
        )


def blocks(key: str, cells: int) -> int:
    """Return the number of blocks: a parameter that all cells share has a partial sum for each."""
    return -(-cells // (WIDTH if key.startswith(TRITON) else block(cells)))


def block(cells: int) -> int:
    """Return the cells of a block: many, so that memory is read in long rows, but several blocks if there are few.

    >>> block(100_000), block(1000), block(3)
    (1024, 256, 64)
    """
    return min(1024, max(64, -(-cells // 4 // 64) * 64))
