"""Recordings of event cameras: events counted in frames when they are needed, none of them lost."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.cameras import Events, by_number, by_time, in_windows
from sandbox.tasks.splits import Samples

Framing: TypeAlias = Callable[[Events], NDArray[np.float32]]  # to [steps, 2, height, width]


@dataclass(frozen=True)
class Steps:
    """Frames of fixed length from time 0; events after the last frame belong to it.

    Args:
        steps: number of time steps.
        duration: of a step [ms].
    """

    steps: int
    duration: float

    def __call__(self, events: Events) -> NDArray[np.float32]:
        return by_time(events, round(1000 * self.duration), steps=self.steps, start=0)


@dataclass(frozen=True)
class Parts:
    """A fixed number of frames of a whole recording.

    Args:
        steps: number of frames.
        by: "number" for frames with the same number of events, "time" for frames of the same length.
        pool: side of the squares of pixels that are added up.
    """

    steps: int
    by: Literal["number", "time"]
    pool: int = 1

    def __call__(self, events: Events) -> NDArray[np.float32]:
        found = by_number(events, steps=self.steps) if self.by == "number" else in_windows(events, self.steps)
        return pooled(found, self.pool)


def pooled(frames: NDArray[Any], side: int) -> NDArray[Any]:
    """Add up squares of pixels: `[..., height, width]` to `[..., height / side, width / side]`; no count is lost.

    >>> pooled(np.ones((1, 2, 4, 4)), 2).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]], [[4.0, 4.0], [4.0, 4.0]]]]
    """
    *first, height, width = frames.shape
    squares: NDArray[Any] = frames.reshape(*first, height // side, side, width // side, side).sum((-3, -1))
    return squares


class Recordings(Samples):
    """Recordings that are counted when they are needed; members say where events are.

    Args:
        y: the class of each recording, `[n]` int64.
        framing: makes frames of events.
    """

    def __init__(self, y: Tensor, framing: Framing) -> None:
        self.y, self.framing = y, framing

    def __len__(self) -> int:
        return len(self.y)

    @abstractmethod
    def events(self, row: int) -> Events:
        """Return the events of one recording."""

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return counts `[n, steps, 2, height, width]` and classes of the recordings with these numbers."""
        counts = [self.framing(self.events(row)) for row in rows.tolist()]
        return torch.from_numpy(np.stack(counts)), self.y[rows]
