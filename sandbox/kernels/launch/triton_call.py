"""Compile a structure with Triton and call it: one program for each block of cells.

Products and sums are fused only where the step fuses them, so that a kernel rounds like the operations of torch.

Experimental: run only in Triton's interpreter; no CUDA device has run a kernel of this module yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sandbox.kernels.launch import store
from sandbox.kernels.launch.registered import STRUCTURES, WRITERS
from sandbox.kernels.write.emit import Variant
from sandbox.kernels.write.triton_words import WIDTH, Triton


@lru_cache(maxsize=256)
def kernel(key: str, direction: str, variant: Variant) -> tuple[Any, list[str]]:
    """Return the function, which Triton compiles for the dtypes of its arguments, and the names of its buffers."""
    source, names = WRITERS[direction](STRUCTURES[key], variant, Triton)
    return store.imported(source), names


def call(
    key: str, direction: str, variant: Variant, x: Tensor, buffers: Mapping[str, Tensor], numbers: Tensor, every: int
) -> None:
    """Do what `call.call` documents, on the device of `x`."""
    function, names = kernel(key, direction, variant)
    steps, cells = x.shape
    given = {"x": x, **buffers}
    with torch.cuda.device_of(x):
        function[(-(-cells // WIDTH),)](
            numbers.contiguous(),
            *(given[name] for name in names),
            steps,
            cells,
            x.stride(0) if steps > 1 else 0,
            every,
            BLOCK=WIDTH,
            num_warps=WIDTH // 32,
            enable_fp_fusion=False,
        )
