"""Eligibility traces of each weight in one compiled loop; importing this module imports numba.

All steps of one cell and one sample are taken while its traces are in the first-level cache. A cell's sums belong to
one thread, so the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.credit.online.traces import Stretch
from sandbox.machine.threads import share_out
from sandbox.synapses.kernels import compiled

Array = np.ndarray[Any, Any]
COUNTS = (1, 2)  # state variables of a cell that the loop is written for


def _advance(
    value: Array,
    low: Array,
    columns: Array,
    kept: Array,
    driven: Array,
    shown: Array,
    signal: Array,
    leak: float,
    behind: bool,
    total: Array,
    first: int,
    last: int,
) -> None:
    """Advance the traces of cells `first` to `last`, and add their gradient to `total`: `PerSynapse` in a loop."""
    steps, samples, places, width = columns.shape
    count = value.shape[1]
    one, two = np.zeros(width, value.dtype), np.zeros(width, value.dtype)
    filtered = np.zeros(width, value.dtype)
    for b in range(samples):
        for c in range(first, last):
            for place in range(places):
                one[:] = value[b, 0, c, place]
                if count == 2:
                    two[:] = value[b, 1, c, place]
                if behind:
                    filtered[:] = low[b, c, place]
                row = total[c]
                for t in range(steps):
                    pre = columns[t, b, place]
                    s, z = signal[t, b, c, place], shown[count, t, b, c, place]
                    a, d, y = kept[0, 0, t, b, c, place], driven[0, t, b, c, place], shown[0, t, b, c, place]
                    if count == 1:
                        for j in range(width):
                            e = z * pre[j] + y * one[j] + leak * filtered[j]
                            one[j] = d * pre[j] + a * one[j]
                            filtered[j] = e
                            row[j] += s * e
                    else:
                        ab, ba, bb = kept[0, 1, t, b, c, place], kept[1, 0, t, b, c, place], kept[1, 1, t, b, c, place]
                        db, yb = driven[1, t, b, c, place], shown[1, t, b, c, place]
                        for j in range(width):
                            e = z * pre[j] + y * one[j] + yb * two[j] + leak * filtered[j]
                            now = one[j]
                            one[j] = d * pre[j] + a * now + ab * two[j]
                            two[j] = db * pre[j] + ba * now + bb * two[j]
                            filtered[j] = e
                            row[j] += s * e
                value[b, 0, c, place] = one
                if count == 2:
                    value[b, 1, c, place] = two
                if behind:
                    low[b, c, place] = filtered


advance = compiled(_advance)


def credited(value: Tensor, low: Tensor | None, stretch: Stretch) -> Tensor | None:
    """Advance traces `value` `[B, k, C, L, K]`, and `low` `[B, C, L, K]` behind the filter, in place.

    Returns: The gradient `[C, K]`; None where the loop is not for these cells.
    """
    tensors = [value, *([] if low is None else [low]), stretch.columns, *stretch.local, stretch.signal]
    alike = all(part.dtype == value.dtype and part.device.type == "cpu" for part in tensors)
    if value.shape[1] not in COUNTS or not alike or value.dtype not in (torch.float32, torch.float64):
        return None
    total = value.new_zeros(value.shape[2], value.shape[4])
    behind = value.new_empty(0, 0, 0, 0) if low is None else low
    arrays = [part.detach().contiguous().numpy() for part in (stretch.columns, *stretch.local, stretch.signal)]
    number = arrays[0].dtype.type
    leak = number(0 if stretch.leak is None else float(stretch.leak))

    def some(first: int, last: int) -> None:
        given = (value.numpy(), behind.numpy(), *arrays, leak, low is not None, total.numpy(), first, last)
        advance(*given)

    share_out(some, value.shape[2])
    return total
