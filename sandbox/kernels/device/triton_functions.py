"""The functions of a kernel in Triton, with the same names as those for numba; from CUDA's library where it has them.

Quotients and square roots are rounded to nearest, which Triton's own are not in float32. Triton's interpreter has no
such library, so there NumPy and SciPy compute the functions.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-call,no-any-return,no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def block(value, width: tl.constexpr, like):
    """Return a block of `width` copies of a value, of the element type of the pointer `like`."""
    return tl.full([width], value, like.dtype.element_ty)


@triton.jit
def place(step, cells, j):
    """Return the index of cells `j` in a step, in int64, because long sequences exceed int32."""
    return tl.full(j.shape, step, tl.int64) * cells + j


@triton.jit
def select(condition, a, b):
    """Return `a` where the condition holds, and `b` elsewhere."""
    return tl.where(condition, a, b)


@triton.jit
def not_(condition):
    """Negate a condition."""
    return ~condition


@triton.jit
def fabs(x):
    """Return the absolute value."""
    return tl.abs(x)


@triton.jit
def fma(a, b, c):
    """Return `a b + c`, rounded once."""
    return tl.fma(a, b, c)


@triton.jit
def divided(a, b):
    """Return the quotient, rounded to nearest."""
    return a / b if a.dtype == tl.float64 else tl.div_rn(a, b)


@triton.jit
def sqrt(x):
    """Return the square root, rounded to nearest."""
    return tl.sqrt(x) if x.dtype == tl.float64 else tl.sqrt_rn(x)


INTERPRETED = not isinstance(block, triton.JITFunction)
if INTERPRETED:
    from sandbox.kernels.device import triton_library as library
else:
    library = libdevice
exp, expm1, log, log1p, log10 = library.exp, library.expm1, library.log, library.log1p, library.log10
sin, cos, tan, asin, acos, atan = library.sin, library.cos, library.tan, library.asin, library.acos, library.atan
sinh, cosh, tanh, erf, erfc = library.sinh, library.cosh, library.tanh, library.erf, library.erfc
floor, ceil, trunc, power, rest_of = library.floor, library.ceil, library.trunc, library.pow, library.fmod


@triton.jit
def number(value: tl.constexpr, like):
    """Return a block of copies of a value, of the shape and dtype of `like`."""
    return tl.full(like.shape, value, like.dtype)


@triton.jit
def sign(x):
    """Return -1, 0 or 1; 0 for NaN."""
    return tl.where(x > 0, number(1.0, x), tl.where(x < 0, number(-1.0, x), number(0.0, x)))


@triton.jit
def sigmoid(x):
    """Return `1 / (1 + exp(-x))`."""
    return divided(number(1.0, x), 1.0 + exp(-x))


@triton.jit
def lerp(a, b, weight):
    """Return `a + weight (b - a)`, from the nearer end, as in torch: another formula rounds differently."""
    near = tl.abs(weight) < 0.5
    return tl.fma(tl.where(near, weight, weight - 1.0), b - a, tl.where(near, a, b))


@triton.jit
def maximum(a, b):
    """Return the larger value; NaN if either is."""
    return tl.where((a < b) | (b != b), b, a)


@triton.jit
def minimum(a, b):
    """Return the smaller value; NaN if either is."""
    return tl.where((a > b) | (b != b), b, a)


@triton.jit
def mod(a, b):
    """Return the remainder, with the sign of `b`."""
    rest = rest_of(a, b)
    return tl.where((rest != 0) & ((b < 0) ^ (rest < 0)), rest + b, rest)


@triton.jit
def floordiv(a, b):
    """Return the largest whole number up to the quotient, as Python and torch find it."""
    rest = rest_of(a, b)
    quotient = divided(a - rest, b)
    quotient = tl.where((rest != 0) & ((b < 0) ^ (rest < 0)), quotient - 1.0, quotient)
    whole = floor(quotient)
    whole = tl.where(quotient - whole > 0.5, whole + 1.0, whole)
    return tl.where(b == 0, divided(a, b), tl.where(quotient != 0, whole, divided(a, b) * 0.0))
