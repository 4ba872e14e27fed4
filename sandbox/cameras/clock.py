"""Clocks of a few bits, which begin again at 0 when they are full."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unturned(clock: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return the times of a clock of so many bits that has turned; falls of up to half of its range are kept.

    >>> unturned(np.array([250, 3, 1]), 8).tolist()
    [250, 259, 257]
    """
    turns = np.cumsum(np.diff(clock, prepend=clock[:1]) < -(2 ** (bits - 1)))
    return clock + (turns << bits)
