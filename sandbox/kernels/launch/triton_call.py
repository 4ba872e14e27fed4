"""A structure compiled by Triton and called: one program for each block of cells.

Nothing is contracted that the step did not contract, so that a kernel rounds as the operations of torch do.

Experimental: run in Triton's interpreter alone; no CUDA device has run a kernel of this module yet.
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
    """The function, which Triton compiles for the dtypes that it is called with, and the names of its buffers."""
    source, names = WRITERS[direction](STRUCTURES[key], variant, Triton)
    return store.imported(source), names


def call(
    key: str, direction: str, variant: Variant, x: Tensor, buffers: Mapping[str, Tensor], numbers: Tensor, every: int
) -> None:
    """What `call.call` promises, on the device of `x`."""
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
