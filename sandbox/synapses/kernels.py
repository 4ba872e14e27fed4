"""Loops over active entries, compiled by numba; importing this module imports numba."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros

from sandbox.machine.bits import nonzero, pointer
from sandbox.machine.private import NotPrivate, require_private

LOG = logging.getLogger(__name__)
BLOCK = 512  # rows of `source` that stay in the second-level cache while columns are summed
ONE = np.uint64(1)

Array = np.ndarray[Any, Any]


def compiled(function: Callable[..., Any], *freedoms: str) -> Any:
    """Compile to machine code that releases the interpreter's lock, cached on disk if there is a private folder.

    It may fuse multiplications and additions, and do what else `freedoms` say, LLVM's flags of fast arithmetic.

    The cache beside this file is as private as the file. numba takes another folder if that is read-only, or if
    NUMBA_CACHE_DIR names one.
    """
    settings: Any = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", *freedoms}}
    try:
        found = njit(cache=True, **settings)(function)
        kept = Path(found._cache.cache_path)
        if kept != Path(__file__).parent / "__pycache__":
            require_private(kept, kept.iterdir())
        return found
    except NotPrivate as error:
        LOG.warning("loops of synapses are compiled anew in every process: %s", error)
        return njit(**settings)(function)
    except RuntimeError:  # no writable folder for the cache
        return njit(**settings)(function)


def _scan(bits: Array, x: Array, start: Array, at: Array, value: Array) -> int:
    """Find the nonzero entries of rows `x` [N, K], given as integers `bits` too: row n has `at[start[n]:start[n + 1]]`.

    The rows are contiguous. 64 entries are compared at a time, and only those that are not zero are looked at.
    """
    k, width = 0, x.shape[1]
    rest = width % 64
    whole = width - rest
    memory = pointer(bits.ctypes.data, bits.dtype.type(0))
    start[0] = 0
    for n in range(x.shape[0]):
        for j in range(0, width if whole else 0, 64):
            if j < whole:
                word = nonzero(memory, n * width + j)
            else:  # the last 64, without those that were before
                word = nonzero(memory, n * width + width - 64) >> np.uint64(64 - rest)
            while word:
                at[k] = j + trailing_zeros(word)
                k += 1
                word &= word - ONE
        for j in range(width if whole else 0, width):
            at[k] = j
            k += bits[n, j] != 0
        start[n + 1] = k
        for i in range(start[n], k):
            value[i] = x[n, at[i]]
    return k


def _places(words: Array, cells: int, found: Array) -> int:
    """Write the places of the ones among bits `[steps, cells]` to `found`, as many as fit; return their number.

    A row of `words` [steps, cells / 64] has the bits of a step, the first cell the lowest of the first word.
    """
    k = 0
    for t in range(words.shape[0]):
        for w in range(words.shape[1]):
            word = words[t, w]
            while word:
                if k < found.shape[0]:
                    found[k] = t * cells + 64 * w + trailing_zeros(word)
                k += 1
                word &= word - ONE
    return k


def _accumulate(source: Array, at: Array, value: Array, first: int, last: int, out: Array) -> None:
    """Add `sum over k from first to last of value[k] source[at[k]]` to `out`, four rows at a time."""
    k = first
    while k + 4 <= last:
        a, b, c, d = source[at[k]], source[at[k + 1]], source[at[k + 2]], source[at[k + 3]]
        p, q, r, s = value[k], value[k + 1], value[k + 2], value[k + 3]
        for o in range(out.shape[0]):
            out[o] += (p * a[o] + q * b[o]) + (r * c[o] + s * d[o])
        k += 4
    while k < last:
        a, p = source[at[k]], value[k]
        for o in range(out.shape[0]):
            out[o] += p * a[o]
        k += 1


def _rows(start: Array, at: Array, value: Array, source: Array, bias: Array, out: Array, first: int, last: int) -> None:
    """Compute rows `first` to `last` of `out = bias + x @ source`."""
    for n in range(first, last):
        out[n] = bias
        accumulate(source, at, value, start[n], start[n + 1], out[n])


def _heard(bits: Array, x: Array, source: Array, bias: Array, current: Array, out: Array, first: int, last: int) -> int:
    """Compute rows `first` to `last` of `out = current + (bias + x @ source)`; return the number of active entries."""
    at, value = np.empty(x.shape[1] + 1, np.int32), np.empty(x.shape[1] + 1, x.dtype)
    start, events = np.empty(2, np.int64), 0
    for n in range(first, last):
        count = scan(bits[n : n + 1], x[n : n + 1], start, at, value)
        out[n] = bias
        accumulate(source, at, value, 0, count, out[n])
        out[n] += current[n]
        events += count
    return events


def _columns(start: Array, at: Array, value: Array, source: Array, out: Array, first: int, last: int) -> None:
    """Compute rows `first` to `last` of `out = x.T @ source`, block by block of x, with entries sorted by column."""
    rows = start.shape[0] - 1
    out[first:last] = 0
    for low in range(0, rows, BLOCK):
        high = min(low + BLOCK, rows)
        add_columns(start, at, value, source[low:high], out, first, last, low, high)


def _add_columns(
    start: Array, at: Array, value: Array, source: Array, out: Array, first: int, last: int, low: int, high: int
) -> None:
    """Add to rows `first` to `last` of `out` the product of rows `low` to `high` of x and `source` [high - low, O]."""
    width = last - first
    end = np.zeros(width + 1, np.int64)
    for k in range(start[low], start[high]):
        if first <= at[k] < last:
            end[at[k] - first + 1] += 1
    for j in range(width):
        end[j + 1] += end[j]
    row = np.empty(end[width], np.int32)
    weight = np.empty(end[width], value.dtype)
    for n in range(low, high):
        for k in range(start[n], start[n + 1]):
            if first <= at[k] < last:
                place = end[at[k] - first]
                row[place], weight[place] = n - low, value[k]
                end[at[k] - first] = place + 1
    begun = 0
    for j in range(width):
        accumulate(source, row, weight, begun, end[j], out[first + j])
        begun = end[j]


def _scalar_product(a: Array, b: Array) -> float:
    """Return the scalar product of two vectors, summed in the order that is fastest on this processor."""
    total = a.dtype.type(0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return total  # type: ignore[no-any-return]


def _spread(
    start: Array, at: Array, value: Array, begin: Array, post: Array, weight: Array, out: Array, first: int, last: int
) -> None:
    """Compute rows `first` to `last` of `x @ W.T` for sparse W, whose input j has `post[begin[j]:begin[j + 1]]`."""
    for n in range(first, last):
        out[n] = 0
        for k in range(start[n], start[n + 1]):
            for q in range(begin[at[k]], begin[at[k] + 1]):
                out[n, post[q]] += value[k] * weight[q]


def _gathered(error: Array, begin: Array, post: Array, weight: Array, out: Array, first: int, last: int) -> None:
    """Compute rows `first` to `last` of `error @ W` for sparse W."""
    for n in range(first, last):
        for j in range(out.shape[1]):
            total = out[n, j]
            for q in range(begin[j], begin[j + 1]):
                total += weight[q] * error[n, post[q]]
            out[n, j] = total


def _correlated(
    start: Array, at: Array, value: Array, begin: Array, post: Array, error: Array, out: Array, first: int, last: int
) -> None:
    """Add `sum over n of x[n, j] error[n, post[q]]` to `out[q]`, for the synapses q of inputs `first` to `last`."""
    for n in range(start.shape[0] - 1):
        for k in range(start[n], start[n + 1]):
            if first <= at[k] < last:
                for q in range(begin[at[k]], begin[at[k] + 1]):
                    out[q] += value[k] * error[n, post[q]]


scan, accumulate, places = compiled(_scan), compiled(_accumulate), compiled(_places)
rows, heard, add_columns, columns = compiled(_rows), compiled(_heard), compiled(_add_columns), compiled(_columns)
scalar_product = compiled(_scalar_product, "reassoc")
spread, gathered, correlated = compiled(_spread), compiled(_gathered), compiled(_correlated)
