"""The functions of a kernel, for one precision: those that neurons use most are plain arithmetic, so they vectorise.

The reason for this code and that in `machine`: how many times as long a kernel takes with numba's own functions
instead, forward / forward and backward, float32, one thread, currents `[100, 128, 256]`.

    instead of ours               LIF, learned tau    AdEx          HodgkinHuxley
    `math.exp` and its like       1.11 / 1.04         2.75 / 2.27   15.7 / 16.3
    arrays of numba               2.31 / 2.49         8.03 / 7.16   15.7 / 14.2
    `fetch`, `put` as the others  1.15 / 1.52         0.98 / 4.63    1.0 / 7.7
    `a * b + c` for `fma`         1.06 / 0.96         1.03 / 0.95    1.0 / 1.0

`fma` is used to match bits: with it all membranes of LIF equal those of the plain loop, without it one in four differs
in its last digit. The exponentials are used for speed only: 0.3 % of the membranes of AdEx differ from the plain loop
with ours and 0.02 % with `math.exp`. Spikes were the same in all cases.

Measured on an AMD EPYC with AVX-512 by `python benchmarks/elementary.py`.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-call,no-any-return,no-untyped-def"

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sandbox.kernels.device import machine
from sandbox.kernels.device.machine import load, store
from sandbox.machine.bits import nonzero, pointer

INLINED = {
    "error_model": "numpy",
    "nogil": True,
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
PLAIN = (
    "stack",
    "load",
    "store",
    "fetch",
    "put",
    "copy",
    "interleave",
)
WHOLE: dict[Any, Any] = {np.float64: np.int64, np.float32: np.int32}  # integers of the same width


class Precision(NamedTuple):
    """The constants of a reduction `x = n ln 2 + r`."""

    high: float  # ln 2, with so few bits that n times it is exact
    low: float  # ln 2 - high
    round: float  # adding it rounds to an integer, which is then in the last bits
    largest: float  # above it exp is infinite
    smallest: float  # below it exp is zero
    flat: float  # below it expm1 is -1
    mantissa: int  # number of its bits
    bias: int  # of the exponent
    terms: int  # of the Taylor series of (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2


PRECISIONS = {
    np.float64: Precision(
        0.6931471803691238, 1.9082149292705877e-10, 1.5 * 2.0**52, 710.0, -746.0, -60.0, 52, 1023, 12
    ),
    np.float32: Precision(0.693359375, -2.1219444005469058e-4, 1.5 * 2.0**23, 89.0, -104.0, -30.0, 23, 127, 6),
}


@cache
def functions(real: Any, fused: bool) -> dict[str, Any]:
    """Return all functions that a kernel may call, by name.

    `exp` uses Cody and Waite's reduction and a Taylor polynomial, within one unit in the last place; `expm1`, `tanh`,
    `sinh`, `cosh` and `sigmoid` use the same parts, within three. The others are those of the C library.

    Args:
        real: `numpy.float32` or `numpy.float64`.
        fused: whether `fma` rounds once, as torch does if the processor can, or twice.

    Reference: Cody & Waite 1980, Software Manual for the Elementary Functions, chapter 6.
    """
    p, whole = PRECISIONS[real], WHOLE[real]
    high, low, shift, base = real(p.high), real(p.low), real(p.round), real(p.round).view(whole)
    largest, smallest, flat = real(p.largest), real(p.smallest), real(p.flat)
    inverse, zero, half, one, two = real(1 / math.log(2)), real(0), real(0.5), real(1), real(2)
    none = np.uint8(0)
    mantissa, bias = whole(p.mantissa), whole(p.bias)

    @njit(**INLINED)
    def twice(a, b, c):
        return a * b + c

    fma = machine.fma if fused else twice

    @njit(**INLINED)
    def select(condition, a, b):
        return a if condition else b

    @njit(**INLINED)
    def not_(condition):
        return not condition

    @njit(**INLINED)
    def fabs(x):
        return abs(x)

    @njit(**INLINED)
    def reduced(x):
        # adding and subtracting `shift` rounds to an integer; n times `high` is exact, so it is subtracted first
        n = fma(x, inverse, shift) - shift
        return fma(-n, low, fma(-n, high, x))

    @njit(**INLINED)
    def exponent(x):
        # numba widens int32 to int64, which would change the width of `view`: hence the casts, here and below
        return whole(real(fma(x, inverse, shift)).view(whole) - base)

    @njit(**INLINED)
    def raised(k):
        """Return 2 ** k from its bits; it has to be a normal number."""
        return whole((k + bias) << mantissa).view(real)

    grown = _polynomial(real, p.terms, fma)

    @njit(**INLINED)
    def exp(x):
        y = select(x >= largest, largest, select(x <= smallest, smallest, x))
        r, k = reduced(y), exponent(y)
        first = whole(k >> whole(1))  # two factors, because 2 ** k may leave the normal numbers where exp(x) does not
        return (one + fma(r * r, grown(r), r)) * raised(first) * raised(whole(k - first))

    @njit(**INLINED)
    def expm1(x):
        y = select(x >= largest, largest, select(x <= flat, flat, x))
        r = reduced(y)
        scale = half * raised(exponent(y))  # half of 2 ** k, which may be infinite where the result is not
        return fma(scale, fma(r * r, grown(r), r), scale - half) * two

    @njit(**INLINED)
    def sign(x):
        return select(x > zero, one, select(x < zero, -one, zero))

    @njit(**INLINED)
    def tanh(x):
        shrunk = expm1(-two * fabs(x))
        value = -shrunk / (two + shrunk)
        return select(x < zero, -value, value)

    @njit(**INLINED)
    def sinh(x):
        grown = expm1(fabs(x))
        rest = select(grown - grown == zero, grown / (grown + one), one)  # of infinity as well
        value = half * (grown + rest)
        return select(x < zero, -value, value)

    @njit(**INLINED)
    def cosh(x):
        grown = exp(fabs(x))
        return half * grown + half / grown

    @njit(**INLINED)
    def sigmoid(x):
        return one / (one + exp(-x))

    @njit(**INLINED)
    def lerp(a, b, weight):
        # from the nearer end, as in torch: another formula rounds differently, and may shift a spike
        near = fabs(weight) < half
        return fma(select(near, weight, weight - one), b - a, select(near, a, b))

    @njit(**INLINED)
    def maximum(a, b):
        # NaN if either side is, as in torch: comparisons with NaN are false, and b != b detects it in b
        return select((a < b) | (b != b), b, a)

    @njit(**INLINED)
    def minimum(a, b):
        return select((a > b) | (b != b), b, a)

    @njit(**INLINED)
    def mod(a, b):
        rest = np.fmod(a, b)
        return select((rest != zero) & ((b < zero) != (rest < zero)), rest + b, rest)

    @njit(**INLINED)
    def floordiv(a, b):
        # as in torch, which follows Python: floor(a / b) would be one too large where the quotient rounds up
        rest = np.fmod(a, b)
        quotient = (a - rest) / b
        quotient = select((rest != zero) & ((b < zero) != (rest < zero)), quotient - one, quotient)
        whole_part = np.floor(quotient)
        whole_part = select(quotient - whole_part > half, whole_part + one, whole_part)
        return select(b == zero, a / b, select(quotient != zero, whole_part, zero * (a / b)))

    @njit(**INLINED)
    def power(a, b):
        return math.pow(a, b)

    @njit(**INLINED)
    def clear(memory, n):
        for j in range(n):
            store(memory, j, zero)

    @njit(**INLINED)
    def pack(out, at, marks, n):
        for w in range((n + 63) // 64):
            store(out, at + w, nonzero(marks, 64 * w))

    @njit(**INLINED)
    def unmark(marks, n):
        for j in range(n):
            store(marks, j, none)

    @njit(**INLINED)
    def total(memory, n):
        found = load(memory, 0)
        for j in range(1, n):
            found = found + load(memory, j)
        return found

    made = [select, not_, fabs, exp, expm1, sign, tanh, sinh, cosh, sigmoid]
    made += [lerp, maximum, minimum, mod, floordiv, power, clear, pack, unmark, total]
    return {
        **{name: getattr(machine, name) for name in PLAIN},
        **{f.__name__: f for f in made},
        **{name: _library(function) for name, function in LIBRARY.items()},
        "fma": fma,
        "pointer": pointer,
        "F": real,
        "zero": zero,
        "one": one,
        "MARK": np.uint8(1),
        "NONE": none,
        "WORD": np.int64(0),
    }


LIBRARY = {
    **{name: getattr(math, name) for name in ("log", "log1p", "log10", "sqrt", "erf", "erfc")},
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: getattr(np, name) for name in ("floor", "ceil", "trunc")},  # those of `math` return integers
}


def _library(function: Any) -> Any:
    @njit(**INLINED)
    def call(x):
        return function(x)

    return call


def _polynomial(real: Any, terms: int, fma: Any) -> Any:
    """Compile 1/2 + r/6 + ... + r^(terms - 1) / (terms + 1)!, by Horner's rule."""
    lines = [f"    q = fma(q, r, k{n})" for n in range(terms - 2, -1, -1)]
    names = {f"k{n}": real(1 / math.factorial(n + 2)) for n in range(terms)} | {"fma": fma}
    exec("\n".join(["def grown(r):", f"    q = k{terms - 1}", *lines, "    return q"]), names)
    return njit(**INLINED)(names["grown"])
