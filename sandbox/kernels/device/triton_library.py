"""The functions of CUDA's library, computed by NumPy and SciPy for Triton's interpreter, which has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from scipy import special
from triton.runtime.interpreter import TensorHandle


def _of_blocks(function: Any) -> Callable[..., Any]:
    """Turn a function of arrays into one of blocks of cells."""

    def call(*blocks: Any) -> Any:
        like = blocks[0]
        with np.errstate(all="ignore"):
            made = function(*(block.handle.data for block in blocks))
        return tl.tensor(TensorHandle(made, like.dtype), like.type)

    return call


exp, expm1, log, log1p, log10 = (_of_blocks(f) for f in (np.exp, np.expm1, np.log, np.log1p, np.log10))
sin, cos, tan = (_of_blocks(f) for f in (np.sin, np.cos, np.tan))
asin, acos, atan = (_of_blocks(f) for f in (np.arcsin, np.arccos, np.arctan))
sinh, cosh, tanh = (_of_blocks(f) for f in (np.sinh, np.cosh, np.tanh))
erf, erfc, pow, fmod = (_of_blocks(f) for f in (special.erf, special.erfc, np.power, np.fmod))
floor, ceil, trunc = (_of_blocks(f) for f in (np.floor, np.ceil, np.trunc))
