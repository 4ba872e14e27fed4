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
from sandbox.synapses.kernels import accumulate, compiled

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
    traces: Array,
    first: int,
    bars: Array,
    felt: Array,
    share: float,
    behind: int,
    own: int,
    keep: int,
    total: Array,
    low: Array,
    past: Array,
) -> None:
    """Add what the traces of an input before the stretch, `[k, 1 or C]`, are worth: to `total`, `low`, and themselves.

    `total` is the gradient, `low` what is behind the filter, and `share` how much of it is kept.
    """
    if behind:
        for c in range(len(low)):
            total[c] += felt[0, c] * low[c]
        for c in range(len(low) if keep else 0):
            low[c] *= share
    count, n = past.shape
    for i in range(count):
        if not own:
            _scaled(total, traces[i, 0], bars[0, i])
            if behind and keep:
                _scaled(low, traces[i, 0], bars[1, i])
            continue
        past[i] = traces[i, first : first + n]
        _weighted(total, past[i], bars[0, i])
        if behind and keep:
            _weighted(low, past[i], bars[1, i])
        if keep:
            traces[i, first : first + n] = 0
    for i in range(count if own and keep else 0):
        for j in range(count):
            _weighted(traces[j, first : first + n], past[i], bars[1 + behind + j, i])


@compiled
def _sorted(bits: Array, row: Array, start: Array, found: Array, step: Array, weight: Array) -> None:
    """Find the entries of inputs `[T, K]` that are not zero, sorted by input: k has `start[k]` to `start[k + 1]`.

    The search has no branch, because spikes are unpredictable: every position is written, and overwritten by the next
    one unless it is active. `bits` are the same inputs as integers.
    """
    steps, width = row.shape
    m = 0
    for t in range(steps):
        each = bits[t]
        for k in range(width):
            found[m] = t * width + k
            m += each[k] != 0
    start[:] = 0
    for e in range(m):
        start[found[e] % width + 1] += 1
    for k in range(width):
        start[k + 1] += start[k]
    for e in range(m):
        t, k = found[e] // width, found[e] % width
        step[start[k]] = t
        weight[start[k]] = row[t, k]
        start[k] += 1
    for k in range(width, 0, -1):
        start[k] = start[k - 1]
    start[0] = 0


@compiled
def _advance(
    value: Array,
    low: Array,
    bits: Array,
    columns: Array,
    kept: Array,
    driven: Array,
    shown: Array,
    signal: Array,
    leak: float,
    fresh: int,
    behind: int,
    own: int,
    keep: int,
    grad: Array,
    first: int,
    last: int,
) -> None:
    """Advance the traces of cells `first` to `last`, and add their gradient to `grad` `[K, C]`.

    `value` is `[B, k, L, K, C or 1]`, `low` `[B, L, K, C]`, `columns` `[T, B, L, K]`, `signal` `[T, B, L, C]`;
    derivatives are `[..., T, B, L, C]`, or 1 for T, B or L. If `fresh`, nothing was before, and `low` and the traces of
    each weight have not been written yet. Unless `keep`, both stay as they are.
    """
    steps, samples, places, width = columns.shape
    count, n = value.shape[1], last - first
    number = 1 + (behind + count * own) * keep
    rows, bars = np.empty((number, steps, n), value.dtype), np.empty((number, count, n), value.dtype)
    spare, felt = np.empty((count, n), value.dtype), np.empty((2, n), value.dtype)
    past, sums = np.empty((count, n), value.dtype), np.zeros((width, n), value.dtype)
    share = np.ones(1, value.dtype)[0]
    for _ in range(steps):
        share *= leak
    start, found = np.empty(width + 1, np.int64), np.empty(steps * width + 1, np.int32)
    step, weight = np.empty(steps * width, np.int32), np.empty(steps * width, value.dtype)
    for b in range(samples):
        for place in range(places):
            at = (b, place, first)
            _worth(kept, driven, shown, signal, leak, behind * keep, own * keep, at, rows, bars, spare, felt)
            felt[0] *= leak
            _sorted(bits[:, b, place], columns[:, b, place], start, found, step, weight)
            for k in range(width):
                behind_k = low[b, place, k, first:last] if behind else spare[0]
                if not fresh:
                    traces = value[b, :, place, k]
                    _before(traces, first, bars, felt, share, behind, own, keep, sums[k], behind_k, past)
                accumulate(rows[0], step, weight, start[k], start[k + 1], sums[k])
                if not keep:
                    continue
                if fresh:
                    if behind:
                        behind_k[:] = 0
                    for i in range(count if own else 0):
                        value[b, i, place, k, first:last] = 0
                if behind:
                    accumulate(rows[1], step, weight, start[k], start[k + 1], behind_k)
                for i in range(count if own else 0):
                    each = value[b, i, place, k, first:last]
                    accumulate(rows[1 + behind + i], step, weight, start[k], start[k + 1], each)
    grad[:, first:last] += sums


def moved(value: Tensor, low: Tensor | None, stretch: Stretch) -> Moved | None:
    """Do what `by_products` does, for traces `[B, k, L, K, C or 1]` and `[B, L, K, C]`; may overwrite them.

    Returns: Trace, that behind the filter, and the gradient `[C, K]`; None where the loop is not for these numbers.
    """
    tensors = [value, *([] if low is None else [low]), stretch.columns, *stretch.local, stretch.signal]
    if value.dtype not in (torch.float32, torch.float64):
        return None
    if any(part.dtype != value.dtype or part.device.type != "cpu" for part in tensors):
        return None
    channels, keep = stretch.signal.shape[2], not stretch.last
    own, behind = value.shape[-1] == channels, stretch.leak is not None
    fresh = low is None and not bool(distinct(value).any())
    traces, held = value, low
    if not keep:
        traces = distinct(value)
        own, behind = traces.shape[-1] == channels, low is not None
    elif own and fresh:
        traces = room(value.shape, value)
    traces = traces.contiguous()
    if behind and held is None:
        held = room((len(value), *value.shape[2:4], channels), value)
        if not fresh:
            held.zero_()
    grad = value.new_zeros(value.shape[3], channels)
    columns = stretch.columns.detach().contiguous()
    bits = columns.view(torch.int32 if value.dtype == torch.float32 else torch.int64)
    filtered = value.new_empty(0, 0, 0, 0) if held is None else held.contiguous()
    tables = [part.numpy() for part in (traces, filtered, bits, columns)]
    tables += [cells_last(part) for part in (*stretch.local, stretch.signal)]
    leak = tables[0].dtype.type(0 if stretch.leak is None else float(stretch.leak))
    how = (leak, int(fresh), int(behind), int(own), int(keep), grad.numpy())

    def some(first: int, last: int) -> None:
        for start in range(first, last, WIDTH):
            _advance(*tables, *how, start, min(start + WIDTH, last))

    share_out(some, channels)
    if not keep:
        return value, low, grad.T
    if not own:
        assert stretch.alike is not None
        traces = settled(value[..., 0], stretch.columns, stretch.alike)[..., None]
    return traces, held if held is None else filtered, grad.T


@torch.library.custom_op("sandbox::room", mutates_args=())
def room(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return memory that an earlier array has left; an operator, so that what is in use is counted as torch counts."""
    return empty(shape, like)


def cells_last(part: Tensor) -> Array:
    """Return `[..., T, B, C, L]` as `[..., T, B, L, C]`; steps, samples and places that only repeat are one."""
    channels = part.shape[-2]
    part = distinct(part.detach())
    part = part.expand(*part.shape[:-2], channels, part.shape[-1]).transpose(-1, -2)
    return part.contiguous().numpy()
