"""Recordings of event cameras: events counted in steps of time, none of them lost."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from sandbox.cameras import Events, by_time
from sandbox.tasks.splits import Samples


class Recordings(Samples):
    """Recordings that are counted when they are needed; members say where events are.

    Args:
        y: the class of each recording, `[n]` int64.
        steps: number of time steps; events after the last belong to it.
        duration: of a step [ms], from time 0.
    """

    def __init__(self, y: Tensor, steps: int, duration: float) -> None:
        self.y, self.steps, self.duration = y, steps, duration

    def __len__(self) -> int:
        return len(self.y)

    @abstractmethod
    def events(self, row: int) -> Events:
        """Return the events of one recording."""

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return counts `[n, steps, 2, height, width]` and classes of the recordings with these numbers."""
        window = round(1000 * self.duration)
        counts = [by_time(self.events(row), window, steps=self.steps, start=0) for row in rows.tolist()]
        return torch.from_numpy(np.stack(counts)), self.y[rows]
