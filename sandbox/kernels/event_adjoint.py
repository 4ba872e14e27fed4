"""The adjoint of EventProp in one compiled loop, for cells that do not hear each other; importing it imports numba.

`rules.credit.eventprop.stepped` says what is computed. Here slopes and errors from above are found at spikes alone, and
what currents are worth is summed up at the spikes of the input while it is in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.credit.eventprop.linear import Linear
from rules.credit.eventprop.stepped import Found, Given
from sandbox.machine.memory import empty
from sandbox.machine.threads import share_out
from sandbox.synapses.events import Events, active, numpy
from sandbox.synapses.kernels import BLOCK, add_columns, compiled, scalar_product
from sandbox.synapses.product import events_of

Array = np.ndarray[Any, Any]
WIDTH = 64  # cells of a thread are a multiple of it


@compiled
def _two(k00: float, k01: float, k11: float, d0: float, d1: float, v: Array, i: Array, row: Array, sums: Array) -> None:
    """Fill a row with what the currents are worth, and go a step back; V does not act on the current of the synapse."""
    for c in range(len(row)):
        a, b = v[c], i[c]
        d = d0 * a + d1 * b
        row[c] = d
        sums[c] += d
        v[c] = k00 * a
        i[c] = k01 * a + k11 * b


@compiled
def _any(kept: Array, driven: Array, state: Array, before: Array, row: Array, sums: Array) -> None:
    """Do the same for another number of variables, `state` `[count, n]`; `before` `[count]` is room."""
    count = len(driven)
    for c in range(len(row)):
        row[c] = 0
        for i in range(count):
            row[c] += driven[i] * state[i, c]
            before[i] = state[i, c]
        sums[c] += row[c]
        for j in range(count):
            state[j, c] = 0
            for i in range(count):
                state[j, c] += kept[i, j] * before[i]


@compiled
def _adjoint(
    kept: Array,
    driven: Array,
    reset: Array,
    subtract: bool,
    u: Array,
    start: Array,
    spikes: Array,
    own_start: Array,
    own: Array,
    worth: Array,
    weight: Array,
    pre_start: Array,
    pre: Array,
    value: Array,
    by_weight: Array,
    by_bias: Array,
    counts: Array,
    out: Array,
    first: int,
    last: int,
) -> int:
    """Fill the columns `first` to `last` of all results, and return how many spikes are flatter than the limit.

    Arrays of steps are `[T B, N]`, the spikes of a row are `own[own_start[row]:own_start[row + 1]]`, and those of the
    input alike. `weight` `[N, outputs]` are those to the layer above, if `worth` is that of its currents, or has no
    rows. `reset` holds threshold, V after a spike or the jump, the rise of V' by the reset, dt and the limit of slopes.
    `by_weight` `[inputs, N]` and `out` `[T B, N]` are left out if they have no rows.
    """
    batch, n, count, outputs = len(start), last - first, len(driven), weight.shape[1]
    steps = len(u) // batch
    threshold, after, rise, dt, limit = reset[0], reset[1], reset[2], reset[3], reset[4]
    k00, d0 = kept[0, 0], driven[0]
    k01, k11, d1 = (kept[0, 1], kept[1, 1], driven[1]) if count == 2 else (k00, k00, d0)
    state, before = np.zeros((batch, count, n), u.dtype), np.zeros(count, u.dtype)
    room = max(1, BLOCK // batch)
    block, sums, step = np.empty((room * batch, n), u.dtype), np.zeros(n, u.dtype), np.empty(outputs, u.dtype)
    found = np.zeros((by_weight.shape[0], n), u.dtype)
    flat = 0
    for high in range(steps, 0, -room):
        low = max(high - room, 0)
        sums[:] = 0
        for t in range(high - 1, low - 1, -1):
            for b in range(batch):
                at = t * batch + b
                begin, end = own_start[at], own_start[at + 1]
                if outputs and begin < end:
                    for o in range(outputs):
                        step[o] = worth[at, o]
                    if t + 1 < steps:
                        for o in range(outputs):
                            step[o] -= worth[at + batch, o]
                for k in range(begin, end):
                    cell = own[k]
                    if cell < first or cell >= last:
                        continue
                    begun = start[b, cell]
                    if t > 0:
                        begun = u[at - batch, cell] + threshold
                        if spikes[at - batch, cell] > 0:
                            begun = begun + after if subtract else after
                    slope = (u[at, cell] + threshold - begun) / dt
                    if slope < limit * rise:
                        flat += 1
                    if outputs:
                        less = scalar_product(weight[cell], step)
                    else:
                        less = worth[at, cell]
                        if t + 1 < steps:
                            less -= worth[at + batch, cell]
                    counts[cell] += 1
                    state[b, 0, cell - first] = state[b, 0, cell - first] * (1 + rise / slope) + less / (slope * dt)
                row = block[at - low * batch]
                if count == 2:
                    _two(k00, k01, k11, d0, d1, state[b, 0], state[b, 1], row, sums)
                else:
                    _any(kept, driven, state[b], before, row, sums)
                if len(out):
                    out[at, first:last] = row
        by_bias[first:last] += sums
        if len(found):
            add_columns(pre_start, pre, value, block, found, 0, len(found), low * batch, high * batch)
    if len(found):
        by_weight[:, first:last] = found
    return flat


def event_adjoint(cells: Linear, given: Given, limit: float) -> Found | None:
    """Return what the currents of a layer are worth, or what that makes of its weights; None if the loop is not for it.

    Spikes of the layer and its input are those that products by events have listed in the forward pass. The weights'
    gradient is found here if the input was listed.

    Args:
        cells: their step.
        given: what the forward pass left, and what the layer above says.
        limit: slope as a share of the fall of V over tau_mem, below which spikes are counted as flat.
    """
    u, spikes, worth = given.u, given.spikes, given.worth
    tensors = (u, given.start, spikes, worth, *([] if given.weight is None else [given.weight]))
    if u.dtype not in (torch.float32, torch.float64):
        return None
    if any(part.dtype != u.dtype or part.device.type != "cpu" for part in tensors):
        return None
    kind = np.float32 if u.dtype == torch.float32 else np.float64
    rise = -cells.fall * cells.leak
    reset = np.array([cells.threshold, cells.after, rise, cells.dt, limit], kind)
    kept, driven = (part.detach().numpy().astype(kind) for part in (cells.kept, cells.driven))
    rows = u.shape[0] * u.shape[1]
    table = [part.detach().reshape(rows, -1).contiguous() for part in (u, spikes, worth)]
    begun = given.start.detach().reshape(u.shape[1], -1).contiguous()
    own = listed(given.above, table[1])
    own = active(table[1]) if own is None else own
    pre = listed(given.currents, given.x.detach().reshape(rows, -1))
    whole = given.down or pre is None
    nothing = u.new_empty(0, 0)
    out = empty(tuple(table[0].shape), u) if whole else nothing
    weights = nothing if pre is None else u.new_empty(given.x[0, 0].numel(), table[0].shape[1])
    bias, counts = u.new_zeros(table[0].shape[1]), np.zeros(table[0].shape[1], np.int64)
    columns = nothing if given.weight is None else given.weight.detach().T.contiguous()
    before = own if pre is None else pre
    arrays = [numpy(part) for part in (table[0], begun, table[1], own.start, own.at, table[2], columns, *before)]
    results = (weights.numpy(), bias.numpy(), counts, out.numpy())

    def work(first: int, last: int) -> int:
        flat: int = _adjoint(kept, driven, reset, cells.subtract, *arrays, *results, first, last)
        return flat

    flat = sum(share_out(work, len(counts), WIDTH))
    return Found(
        out.reshape(u.shape) if whole else None,
        None if pre is None else weights.T.contiguous(),
        bias,
        torch.from_numpy(counts).reshape(u.shape[2:]),
        flat,
    )


def listed(currents: Tensor | None, x: Tensor) -> Events | None:
    """Return the events of x `[T B, in]`, if currents are its product by events."""
    return None if currents is None else events_of(currents, x)
