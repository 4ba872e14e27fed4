"""Batches whose order and noise depend on seed, epoch and batch number alone, so a run can resume in mid-epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from rules.contract import Batch
from sandbox.tasks.base import Split

Encoder = Callable[[Tensor, torch.Generator], Tensor]


class Loader:
    """Iterator over the encoded batches `[T, B, *features]` of a split.

    Args:
        split: samples and labels.
        encoder: from samples to sequences.
        batch_size: samples in a batch; the last batch may be smaller.
        seed: of order and noise, 0 by default.
        shuffle: draw a new order in each epoch, the default; False for the order of the split.
        augment: a transformation of the encoded batch; None for none.

    Raises:
        ValueError: for a batch size below 1.

    >>> from sandbox.tasks.encode import Constant
    >>> split = Split(torch.rand(10, 4), torch.zeros(10, dtype=torch.int64))
    >>> [tuple(batch.x.shape) for batch in Loader(split, Constant(steps=5), 4)]
    [(5, 4, 4), (5, 4, 4), (5, 2, 4)]
    """

    def __init__(
        self,
        split: Split,
        encoder: Encoder,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        augment: Encoder | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: give a whole number, at least 1")
        self.split, self.encoder, self.batch_size, self.seed, self.shuffle = split, encoder, batch_size, seed, shuffle
        self.augment = augment
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.split.y) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which order and noise depend."""
        self.epoch = epoch

    def iterate(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from number `start` on, without computing those before."""
        count, epoch = len(self.split.y), self.epoch
        order = torch.randperm(count, generator=self._rng(epoch, 0)) if self.shuffle else torch.arange(count)
        for number in range(start, len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            rng = self._rng(epoch, number + 1)
            x = self.encoder(self.split.x[chosen], rng)
            yield Batch(x if self.augment is None else self.augment(x, rng), self.split.y[chosen])

    def _rng(self, epoch: int, place: int) -> torch.Generator:
        mixed = np.random.SeedSequence([self.seed, epoch, place]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(mixed[0]) >> 1)
