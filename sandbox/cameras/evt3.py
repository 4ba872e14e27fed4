"""EVT 3.0 of Prophesee: words of 16 bits that set what has changed, decoded at once without a loop.

Bits 15 to 12 are the type of a word:

    0  row (bits 10 to 0)                       4  12 pixels from the base on, a bit for each, then base += 12
    2  one event: column, polarity (bit 11)     5  8 pixels likewise, then base += 8
    3  base: column, polarity of those of 4, 5  6  lower 12 bits of the time     8  upper 12 bits of the time

What a word refers to is the last word of the type in question, which `np.maximum.accumulate` finds for all words.

Reference: Metavision SDK documentation, "EVT 3.0 Format", docs.prophesee.ai/stable/data/encoding_formats/evt3.html.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.cameras.clock import unturned

ROW, SINGLE, BASE, TWELVE, EIGHT, LOW, HIGH = 0, 2, 3, 4, 5, 6, 8
BITS = 12  # of a value


def decoded(words: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return t, x, y and p of the words of EVT 3.0, in their order.

    Events without a row, a base or the upper bits of a time before them are left out.

    >>> t, x, y, p = decoded(np.array([0x8001, 0x6002, 0x0005, 0x3807, 0x4009], np.uint16))
    >>> t.tolist(), x.tolist(), y.tolist(), p.tolist()
    ([4098, 4098], [7, 10], [5, 5], [1, 1])
    """
    kind, value = (words >> BITS).astype(np.uint8), words & np.uint16(0xFFF)
    event = np.flatnonzero((kind == SINGLE) | (kind == TWELVE) | (kind == EIGHT))
    place = np.arange(len(words), dtype=np.int32)

    def last(which: int) -> NDArray[np.int32]:
        """Return the place of the last word of a type, up to each event; -1 for none."""
        return np.maximum.accumulate(np.where(kind == which, place, np.int32(-1)))[event]

    row, base, low, high = last(ROW), last(BASE), last(LOW), last(HIGH)
    type_, held = kind[event], value[event]
    single = type_ == SINGLE
    known = (row >= 0) & (high >= 0) & (single | (base >= 0))
    pixels = np.where(known, np.where(single, 1, np.where(type_ == EIGHT, held & 0xFF, held)), 0).astype(np.uint16)
    which, bit = np.nonzero(pixels[:, None] >> np.arange(12, dtype=np.uint16) & np.uint16(1))
    passed = np.cumsum(12 * (kind == TWELVE) + 8 * (kind == EIGHT))  # pixels of all groups up to a word, and its own
    width = np.where(type_ == TWELVE, 12, 8)
    offset = np.where(single, 0, passed[event] - width - passed[base])
    head = np.where(single, held, value[base])  # column and polarity
    upper = np.zeros(len(words), np.int64)
    upper[kind == HIGH] = unturned(value[kind == HIGH].astype(np.int64), BITS)
    t = upper[high] << BITS | np.where(low >= 0, value[low], 0)
    x = (head & 0x7FF) + offset
    return t[which], x[which] + bit, value[row[which]] & 0x7FF, head[which] >> 11
