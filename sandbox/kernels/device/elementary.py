"""The functions of a kernel, for one precision: those that neurons use most are arithmetic alone, so they vectorise."""

# mypy: disable-error-code="untyped-decorator,no-untyped-call,no-any-return,no-untyped-def"

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from sandbox.kernels.device import machine
from sandbox.kernels.device.machine import bits, fabs, halved, less, load, raised, select, store

INLINED = {
    "error_model": "numpy",
    "nogil": True,
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
PLAIN = (
    "stack",
    "pointer",
    "load",
    "store",
    "fetch",
    "put",
    "copy",
    "select",
    "not_",
    "sqrt",
    "fabs",
    "floor",
    "ceil",
    "trunc",
)


class Precision(NamedTuple):
    """What a reduction `x = n ln 2 + r` needs."""

    high: float  # ln 2, of so few bits that n times it is exact
    low: float  # and what is missing
    round: float  # adding it rounds to a whole number, which then stands in the last bits
    largest: float  # beyond which exp is infinite
    smallest: float  # below which it is zero
    flat: float  # below which expm1 is -1
    terms: int  # of the Taylor series of (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2


PRECISIONS = {
    np.float64: Precision(0.6931471803691238, 1.9082149292705877e-10, 1.5 * 2.0**52, 710.0, -746.0, -60.0, 12),
    np.float32: Precision(0.693359375, -2.1219444005469058e-4, 1.5 * 2.0**23, 89.0, -104.0, -30.0, 6),
}


@cache
def functions(real: Any, fused: bool) -> dict[str, Any]:
    """Everything that a kernel may call, for `numpy.float32` or `numpy.float64`.

    `fused` says whether `fma` rounds once, as torch does where the processor can, or twice.

    `exp` by Cody and Waite's reduction and a Taylor polynomial, within one unit in the last place; `expm1`, `tanh`,
    `sinh`, `cosh` and `sigmoid` from the same parts, within three. The others are those of the C library.

    Reference: Cody & Waite 1980, Software Manual for the Elementary Functions, chapter 6.
    """
    p = PRECISIONS[real]
    high, low, shift, base = real(p.high), real(p.low), real(p.round), bits_of(real, p.round)
    largest, smallest, flat = real(p.largest), real(p.smallest), real(p.flat)
    inverse, zero, half, one, two = real(1 / math.log(2)), real(0), real(0.5), real(1), real(2)

    @njit(**INLINED)
    def twice(a, b, c):
        return a * b + c

    fma = machine.fma if fused else twice

    @njit(**INLINED)
    def reduced(x):
        n = (x * inverse + shift) - shift
        return (x - n * high) - n * low

    @njit(**INLINED)
    def exponent(x):
        return less(bits(x * inverse + shift), base)

    grown = _polynomial(real, p.terms)

    @njit(**INLINED)
    def exp(x):
        y = select(x >= largest, largest, select(x <= smallest, smallest, x))
        r, k = reduced(y), exponent(y)
        first = halved(k)
        return (one + (r + r * r * grown(r))) * raised(first, one) * raised(less(k, first), one)

    @njit(**INLINED)
    def expm1(x):
        y = select(x >= largest, largest, select(x <= flat, flat, x))
        r = reduced(y)
        scale = half * raised(exponent(y), one)
        return (scale * (r + r * r * grown(r)) + (scale - half)) * two

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
        near = fabs(weight) < half
        return fma(select(near, weight, weight - one), b - a, select(near, a, b))

    @njit(**INLINED)
    def maximum(a, b):
        return select((a < b) | (b != b), b, a)

    @njit(**INLINED)
    def minimum(a, b):
        return select((a > b) | (b != b), b, a)

    @njit(**INLINED)
    def mod(a, b):
        rest = np.fmod(a, b)
        return select((rest != zero) & ((b < zero) != (rest < zero)), rest + b, rest)

    @njit(**INLINED)
    def power(a, b):
        return math.pow(a, b)

    @njit(**INLINED)
    def clear(memory, n):
        for j in range(n):
            store(memory, j, zero)

    @njit(**INLINED)
    def total(memory, n):
        found = load(memory, 0)
        for j in range(1, n):
            found = found + load(memory, j)
        return found

    made = [exp, expm1, sign, tanh, sinh, cosh, sigmoid, lerp, maximum, minimum, mod, power, clear, total]
    library = [_library(name) for name in LIBRARY]
    return {
        **{name: getattr(machine, name) for name in PLAIN},
        **{f.__name__: f for f in made},
        **dict(zip(LIBRARY, library, strict=True)),
        "fma": fma,
        "F": real,
        "zero": zero,
        "one": one,
    }


LIBRARY = ("log", "log1p", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "erf", "erfc")


def _library(name: str) -> Any:
    function = getattr(math, name)

    @njit(**INLINED)
    def call(x):
        return function(x)

    return call


def _polynomial(real: Any, terms: int) -> Any:
    """1/2 + r/6 + ... + r^(terms - 1) / (terms + 1)!, by Horner's rule."""
    lines = [f"    q = q * r + k{n}" for n in range(terms - 2, -1, -1)]
    names = {f"k{n}": real(1 / math.factorial(n + 2)) for n in range(terms)}
    exec("\n".join(["def grown(r):", f"    q = k{terms - 1}", *lines, "    return q"]), names)
    return njit(**INLINED)(names["grown"])


def bits_of(real: Any, value: float) -> Any:
    """The bits of a number as a whole number."""
    return real(value).view({np.float64: np.int64, np.float32: np.int32}[real])
