"""Eligibility traces in one compiled loop that skips inputs that are zero; importing this module imports numba.

`rules.credit.online.traces.by_products` says what is computed: what each input of a stretch is worth for the gradient,
for what the filter has at the end, and for the traces of each weight at the end. Here a sample is finished before the
next begins, and each row of sums is read and written once. A cell's sums belong to one thread, so the result does not
depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.credit.online.traces import Moved, Stretch, distinct, settled
from sandbox.machine.memory import empty
from sandbox.machine.threads import share_out
from sandbox.synapses.kernels import compiled

Array = np.ndarray[Any, Any]
WIDTH = 256  # cells whose rows stay in the cache together


@compiled
def _within(at: int, part: Array, axis: int) -> int:
    """Return an index into an axis of a derivative, which has one entry where its numbers only repeat."""
    return int(min(at, part.shape[axis] - 1))


@compiled
def _scaled(out: Array, weight: float, row: Array) -> None:
    """Add `weight * row` to `out`."""
    for c in range(len(row)):
        out[c] += weight * row[c]


@compiled
def _weighted(out: Array, weights: Array, row: Array) -> None:
    """Add `weights * row` to `out`."""
    for c in range(len(row)):
        out[c] += weights[c] * row[c]


@compiled
def _worth(
    kept: Array,
    driven: Array,
    shown: Array,
    signal: Array,
    leak: float,
    behind: int,
    own: int,
    at: tuple[int, int, int],
    rows: Array,
    bars: Array,
    spare: Array,
    felt: Array,
) -> None:
    """Fill `rows` `[R, T, n]` with what each input is worth for R sums, and `bars` `[R, k, n]` for the traces before.

    The first sum is the gradient, then, if `behind`, the filter, then, if `own`, the traces; `at` is sample, place and
    first cell. Row 0 of `felt` `[2, n]` gets the signal that reaches back through the filter.
    """
    b, place, first = at
    sums, steps, n = rows.shape
    count, some = bars.shape[1], slice(first, first + n)
    bars[:] = 0
    for i in range(count if own else 0):
        bars[1 + behind + i, i] = 1
    felt[0] = 0
    felt[1] = 1  # what a step is worth for the filter
    for t in range(steps - 1, -1, -1):
        felt[0] = signal[t, b, place, some] + leak * felt[0]
        kept_t, driven_t, shown_t = _within(t, kept, 2), _within(t, driven, 1), _within(t, shown, 1)
        kept_b, driven_b, shown_b = _within(b, kept, 3), _within(b, driven, 2), _within(b, shown, 2)
        kept_l, driven_l, shown_l = _within(place, kept, 4), _within(place, driven, 3), _within(place, shown, 3)
        for r in range(sums):
            row = rows[r, t]
            row[:] = 0
            spare[:] = 0
            for i in range(count):
                _weighted(row, driven[i, driven_t, driven_b, driven_l, some], bars[r, i])
                for j in range(count):
                    _weighted(spare[i], kept[j, i, kept_t, kept_b, kept_l, some], bars[r, j])
            if r < 1 + behind:
                for i in range(count):
                    _weighted(spare[i], shown[i, shown_t, shown_b, shown_l, some], felt[r])
                _weighted(row, shown[count, shown_t, shown_b, shown_l, some], felt[r])
            bars[r] = spare
        felt[1] *= leak


@compiled
def _before(
    k: int,
    value: Array,
    low: Array,
    bars: Array,
    felt: Array,
    share: float,
    behind: int,
    own: int,
    at: tuple[int, int, int],
    total: Array,
    past: Array,
) -> None:
    """Add what the traces of input k before the stretch are worth; `share` is what the filter keeps of its own."""
    b, place, first = at
    count, n = past.shape
    some = slice(first, first + n)
    if behind:
        filtered = low[b, place, k, some]
        for c in range(n):
            total[c] += felt[0, c] * filtered[c]
            filtered[c] *= share
    if own:
        past[:] = value[b, :, place, k, some]
        value[b, :, place, k, some] = 0
    for i in range(count):
        if not own:
            _scaled(total, value[b, i, place, k, 0], bars[0, i])
            if behind:
                _scaled(low[b, place, k, some], value[b, i, place, k, 0], bars[1, i])
            continue
        _weighted(total, past[i], bars[0, i])
        if behind:
            _weighted(low[b, place, k, some], past[i], bars[1, i])
        for j in range(count):
            _weighted(value[b, j, place, k, some], past[i], bars[1 + behind + j, i])


@compiled
def _advance(
    value: Array,
    low: Array,
    columns: Array,
    kept: Array,
    driven: Array,
    shown: Array,
    signal: Array,
    leak: float,
    fresh: int,
    behind: int,
    own: int,
    grad: Array,
    first: int,
    last: int,
) -> None:
    """Advance the traces of cells `first` to `last`, and add their gradient to `grad` `[K, C]`.

    `value` is `[B, k, L, K, C or 1]`, `low` `[B, L, K, C]`, `columns` `[T, B, L, K]`, `signal` `[T, B, L, C]`;
    derivatives are `[..., T, B, L, C]`, or 1 for T, B or L. `fresh` says that there is nothing before.
    """
    steps, samples, places, width = columns.shape
    count, n = value.shape[1], last - first
    number = 1 + behind + count * own
    rows, bars = np.empty((number, steps, n), value.dtype), np.empty((number, count, n), value.dtype)
    spare, felt = np.empty((count, n), value.dtype), np.empty((2, n), value.dtype)
    past, inputs = np.empty((count, n), value.dtype), np.empty((width, steps), value.dtype)
    share = np.ones(1, value.dtype)[0]
    for _ in range(steps):
        share *= leak
    active = np.empty(steps, np.int64)
    for b in range(samples):
        for place in range(places):
            at = (b, place, first)
            _worth(kept, driven, shown, signal, leak, behind, own, at, rows, bars, spare, felt)
            felt[0] *= leak
            for t in range(steps):
                for k in range(width):
                    inputs[k, t] = columns[t, b, place, k]
            for k in range(width):
                total = grad[k, first:last]
                if not fresh:
                    _before(k, value, low, bars, felt, share, behind, own, at, total, past)
                m = 0
                for t in range(steps):
                    active[m] = t
                    m += inputs[k, t] != 0
                for e in range(m):
                    t = active[e]
                    _scaled(total, inputs[k, t], rows[0, t])
                    if behind:
                        _scaled(low[b, place, k, first:last], inputs[k, t], rows[1, t])
                    for i in range(count if own else 0):
                        _scaled(value[b, i, place, k, first:last], inputs[k, t], rows[1 + behind + i, t])


def moved(value: Tensor, low: Tensor | None, stretch: Stretch) -> Moved | None:
    """Do what `by_products` does, for traces `[B, k, L, K, C or 1]` and `[B, L, K, C]`; may overwrite them.

    Returns: Trace, that behind the filter, and the gradient `[C, K]`; None where the loop is not for these numbers.
    """
    tensors = [value, *([] if low is None else [low]), stretch.columns, *stretch.local, stretch.signal]
    if value.dtype not in (torch.float32, torch.float64):
        return None
    if any(part.dtype != value.dtype or part.device.type != "cpu" for part in tensors):
        return None
    channels = stretch.signal.shape[2]
    own, behind = value.shape[-1] == channels, stretch.leak is not None
    grad = value.new_zeros(value.shape[3], channels)
    fresh = low is None and not bool(distinct(value).any())
    value = value.contiguous()
    if behind and low is None:
        low = zeros((len(value), *value.shape[2:4], channels), value)
    held = value.new_empty(0, 0, 0, 0) if low is None else low
    number = value.numpy().dtype.type
    leak = number(0 if stretch.leak is None else float(stretch.leak))
    arrays = [cells_last(part) for part in (*stretch.local, stretch.signal)]
    given = (value.numpy(), held.numpy(), stretch.columns.detach().contiguous().numpy(), *arrays)

    def some(first: int, last: int) -> None:
        for start in range(first, last, WIDTH):
            _advance(*given, leak, int(fresh), int(behind), int(own), grad.numpy(), start, min(start + WIDTH, last))

    share_out(some, channels)
    if not own:
        assert stretch.alike is not None
        value = settled(value[..., 0], stretch.columns, stretch.alike)[..., None]
    return value, low, grad.T


@torch.library.custom_op("sandbox::zeros", mutates_args=())
def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return zeros in memory that an earlier array has left; an operator, so that memory in use is counted by torch."""
    return empty(shape, like).zero_()


def cells_last(part: Tensor) -> Array:
    """Return `[..., T, B, C, L]` as `[..., T, B, L, C]`; steps, samples and places that only repeat are one."""
    channels = part.shape[-2]
    part = distinct(part.detach())
    part = part.expand(*part.shape[:-2], channels, part.shape[-1]).transpose(-1, -2)
    return part.contiguous().numpy()
