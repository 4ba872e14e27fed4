"""Spikes as a list of events, with memory for each spike instead of each step of each cell. Imports torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Events(NamedTuple):
    """Spikes in the order of samples, of steps within a sample, and of cells within a step.

    >>> spikes = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    >>> Events.of(spikes).cell
    tensor([1, 0, 1])
    >>> torch.equal(Events.of(spikes).dense((2, 2)), spikes)
    True
    """

    step: Tensor  # [N] int64, from 0
    cell: Tensor  # [N] int64; axes of cells are flattened
    sample: Tensor | None = None  # [N] int64; None without a batch

    @classmethod
    def of(cls, spikes: Tensor) -> Events:
        """Return the events of spikes `[T, cells]` or `[T, B, cells]`: the entries that are not zero."""
        if spikes.ndim == 2:
            return cls(*spikes.nonzero(as_tuple=True))
        sample, step, cell = spikes.transpose(0, 1).nonzero(as_tuple=True)
        return cls(step, cell, sample)

    def dense(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Return spikes `[T, cells]` or `[T, B, cells]`, 0 or 1."""
        spikes = torch.zeros(tuple(shape), dtype=dtype, device=self.step.device)
        where = (self.step, self.cell) if self.sample is None else (self.step, self.sample, self.cell)
        spikes[where] = 1.0
        return spikes
