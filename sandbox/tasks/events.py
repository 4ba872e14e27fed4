"""Recordings of event cameras: events counted in steps of time, none of them lost."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.tasks.splits import Samples

POLARITIES = 2  # darker, brighter


class Events(NamedTuple):
    """The events of one recording, each an array `[n]`."""

    x: NDArray[Any]  # column
    y: NDArray[Any]  # row
    p: NDArray[Any]  # polarity, 0 for darker and 1 for brighter
    t: NDArray[Any]  # time [us]


def count(events: Events, steps: int, duration: float, side: int) -> NDArray[np.float32]:
    """Count events by step, polarity and pixel, `[steps, 2, side, side]`.

    Step k has the events of `k duration <= t < (k + 1) duration`, with the duration in ms. Those after the last step
    belong to it, so that the sum is the number of events.

    >>> late = Events(x=np.array([0, 1]), y=np.array([1, 1]), p=np.array([0, 1]), t=np.array([1999, 9000]))
    >>> count(late, steps=3, duration=2.0, side=2).sum((1, 2, 3)).tolist()
    [1.0, 0.0, 1.0]
    """
    step = np.minimum(events.t // (1000 * duration), steps - 1).astype(np.int64)
    place = ((step * POLARITIES + events.p) * side + events.y) * side + events.x
    found = np.bincount(place, minlength=steps * POLARITIES * side * side)
    return found.reshape(steps, POLARITIES, side, side).astype(np.float32)


class Recordings(Samples):
    """Recordings that are counted when they are needed; members say where events are.

    Args:
        y: the class of each recording, `[n]` int64.
        steps: number of time steps.
        duration: of a step [ms].
        side: pixels of a row, and of a column.
    """

    def __init__(self, y: Tensor, steps: int, duration: float, side: int) -> None:
        self.y, self.steps, self.duration, self.side = y, steps, duration, side

    def __len__(self) -> int:
        return len(self.y)

    @abstractmethod
    def events(self, row: int) -> Events:
        """Return the events of one recording."""

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return counts `[n, steps, 2, side, side]` and classes of the recordings with these numbers."""
        counts = [count(self.events(row), self.steps, self.duration, self.side) for row in rows.tolist()]
        return torch.from_numpy(np.stack(counts)), self.y[rows]
