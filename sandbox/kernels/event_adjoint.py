"""The adjoint of EventProp in one compiled loop, for cells that do not hear each other; importing it imports numba.

`rules.credit.eventprop.stepped` says what is computed. Here the slopes are found on the way, at spikes alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.machine.threads import share_out
from sandbox.synapses.kernels import compiled

Array = np.ndarray[Any, Any]
WIDTH = 256  # cells whose states stay in the cache


@compiled
def _product(weights: Array, row: Array, first: int) -> float:
    """Return the scalar product of `weights` and the entries of `row` from `first` on, in four sums."""
    a = b = c = d = weights.dtype.type(0)
    n = len(weights) - len(weights) % 4
    for k in range(0, n, 4):
        a += weights[k] * row[first + k]
        b += weights[k + 1] * row[first + k + 1]
        c += weights[k + 2] * row[first + k + 2]
        d += weights[k + 3] * row[first + k + 3]
    for k in range(n, len(weights)):
        a += weights[k] * row[first + k]
    return (a + b) + (c + d)  # type: ignore[no-any-return]


@compiled
def _two(k00: float, k01: float, k11: float, d0: float, d1: float, v: Array, i: Array, row: Array) -> None:
    """Fill a row with what the currents are worth, and go a step back; V does not act on the current of the synapse."""
    for c in range(len(row)):
        a, b = v[c], i[c]
        row[c] = d0 * a + d1 * b
        v[c] = k00 * a
        i[c] = k01 * a + k11 * b


@compiled
def _adjoint(
    kept: Array,
    driven: Array,
    reset: Array,
    subtract: bool,
    u: Array,
    start: Array,
    spikes: Array,
    worth: Array,
    weight: Array,
    out: Array,
    first: int,
    last: int,
) -> int:
    """Fill `out[:, first:last]`, and return how many spikes are flatter than the limit; arrays are `[T, M]`.

    `weight` `[N, outputs]` are those to the layer above, if `worth` is that of its currents, or has no rows. `reset`
    holds threshold, V after a spike or the jump, the rise of V' by the reset, dt, and the limit of slopes.
    """
    steps, count, outputs = len(u), len(driven), weight.shape[1]
    threshold, after, rise, dt, limit = reset[0], reset[1], reset[2], reset[3], reset[4]
    k00, d0 = kept[0, 0], driven[0]
    k01, k11, d1 = (kept[0, 1], kept[1, 1], driven[1]) if count == 2 else (k00, k00, d0)
    flat = 0
    for low in range(first, last, WIDTH):
        high = min(low + WIDTH, last)
        n = high - low
        state, before = np.zeros((count, n), u.dtype), np.zeros(count, u.dtype)
        for t in range(steps - 1, -1, -1):
            fired = spikes[t, low:high]
            for c in range(n):
                if fired[c] > 0:
                    at = low + c
                    begun = start[at]
                    if t > 0:
                        begun = u[t - 1, at] + threshold
                        if spikes[t - 1, at] > 0:
                            begun = begun + after if subtract else after
                    slope = (u[t, at] + threshold - begun) / dt
                    if slope < limit * rise:
                        flat += 1
                    if len(weight):
                        sample, cell = at // len(weight), at % len(weight)
                        less = _product(weight[cell], worth[t], sample * outputs)
                        if t + 1 < steps:
                            less -= _product(weight[cell], worth[t + 1], sample * outputs)
                    else:
                        less = worth[t, at]
                        if t + 1 < steps:
                            less -= worth[t + 1, at]
                    state[0, c] = state[0, c] * (1 + rise / slope) + less / (slope * dt)
            row = out[t, low:high]
            if count == 2:
                _two(k00, k01, k11, d0, d1, state[0], state[1], row)
            else:
                for c in range(n):
                    row[c] = 0
                    for i in range(count):
                        row[c] += driven[i] * state[i, c]
                        before[i] = state[i, c]
                    for j in range(count):
                        state[j, c] = 0
                        for i in range(count):
                            state[j, c] += kept[i, j] * before[i]
    return flat


def event_adjoint(
    cells: Any, u: Tensor, start: Tensor, spikes: Tensor, worth: Tensor, limit: float, weight: Tensor | None = None
) -> tuple[Tensor, int] | None:
    """Return `D` `[T, B, *out]`, and how many spikes are flatter than `limit`; None where the loop is not for these.

    Args:
        cells: their step, `rules.credit.eventprop.linear.Linear`.
        u: V before the reset, less the threshold, `[T, B, *out]`.
        start: V before the first step, `[B, *out]`.
        spikes: `[T, B, *out]`.
        worth: what a spike in each step is worth, `[T, B, *out]`; with `weight` what the currents of the layer above
            are worth, `[T, B, outputs]`, which is then carried down at spikes alone.
        limit: slope as a share of the fall of V over tau_mem.
        weight: of the layer above, `[outputs, N]`.
    """
    tensors = (u, start, spikes, worth, *([] if weight is None else [weight]))
    if u.dtype not in (torch.float32, torch.float64):
        return None
    if any(part.dtype != u.dtype or part.device.type != "cpu" for part in tensors):
        return None
    kind = np.float32 if u.dtype == torch.float32 else np.float64
    rise = -cells.fall * cells.leak
    reset = np.array([cells.threshold, cells.after, rise, cells.dt, limit], kind)
    kept, driven = (part.detach().numpy().astype(kind) for part in (cells.kept, cells.driven))
    rows = [part.detach().reshape(len(u), -1).contiguous().numpy() for part in (u, spikes, worth)]
    columns = u.new_empty(0, 0) if weight is None else weight.detach().T.contiguous()
    found = torch.empty_like(u, memory_format=torch.contiguous_format)
    out = found.reshape(len(u), -1).numpy()
    begun = start.detach().reshape(-1).contiguous().numpy()

    def work(first: int, last: int) -> int:
        flat: int = _adjoint(
            *(kept, driven, reset, cells.subtract, rows[0], begun, rows[1], rows[2], columns.numpy(), out, first, last)
        )
        return flat

    return found, sum(share_out(work, out.shape[1], WIDTH))
