"""Batches whose order and noise depend on seed, purpose, epoch and place alone, so a run can resume in mid-epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from rules.contract import Batch
from rules.generators import Globals
from rules.seeds import derived
from sandbox.tasks.splits import Samples

Encoder = Callable[[Tensor, torch.Generator], Tensor]
TRAINING = "training"


class Loader:
    """Iterator over the encoded batches `[T, B, *features]` of a split.

    Encoder, augmentation and data get a generator for each batch. If they draw from torch's, NumPy's or Python's global
    generators instead, those follow the batch, too, and are restored after it.

    Args:
        split: samples and their answers.
        encoder: from samples to sequences.
        batch_size: samples in a batch; the last batch may be smaller.
        seed: of order and noise, 0 by default.
        shuffle: draw a new order in each epoch, the default; False for the order of the split.
        augment: a transformation of the encoded batch; None for none.
        purpose: what the batches are for; noise differs between purposes of one seed. "training" by default.
        plain: whether batches also carry what was augmented as it was before, for a teacher; False by default.

    Raises:
        ValueError: for a batch size below 1.

    >>> from sandbox.tasks.encode import Constant
    >>> from sandbox.tasks.splits import Split
    >>> split = Split(torch.rand(10, 4), torch.zeros(10, dtype=torch.int64))
    >>> [tuple(batch.x.shape) for batch in Loader(split, Constant(steps=5), 4)]
    [(5, 4, 4), (5, 4, 4), (5, 2, 4)]
    """

    def __init__(
        self,
        split: Samples,
        encoder: Encoder,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        augment: Encoder | None = None,
        purpose: str = TRAINING,
        plain: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: give a whole number, at least 1")
        self.split, self.encoder, self.batch_size, self.seed, self.shuffle = split, encoder, batch_size, seed, shuffle
        self.augment, self.purpose, self.plain = augment, purpose, plain
        self.key = [] if purpose == TRAINING else [_number(purpose)]
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, on which order and noise depend."""
        self.epoch = epoch

    def iterate(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from number `start` on, without computing those before."""
        count, epoch = len(self.split), self.epoch
        order = torch.randperm(count, generator=self._rng(epoch, 0)) if self.shuffle else torch.arange(count)
        chosen = torch.split(order, self.batch_size)[start:]
        places = range(start + 1, len(self) + 1)
        rngs = [self._rng(epoch, place) for place in places]
        stream, drawn = iter(self.split.stream(chosen, rngs)), Globals(self._globals(epoch, start + 1))
        for rows, rng, place in zip(chosen, rngs, places, strict=True):
            drawn.restart(self._globals(epoch, place))
            with drawn.inside():
                x, y = next(stream)
                x = self.encoder(x, rng)
                plain = x if self.plain and self.augment is not None else None
                x = x if self.augment is None else self.augment(x, rng)
            lengths = None if self.split.lengths is None else self.split.lengths[rows].clamp(max=len(x))
            if self.split.by_step:
                labels = None if self.split.labels is None else self.split.labels[rows]
                yield Batch(x, labels, targets=y.transpose(0, 1)[: len(x)], lengths=lengths, plain=plain)
            else:
                yield Batch(x, y, lengths=lengths, plain=plain)

    def _rng(self, epoch: int, place: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(epoch, place))

    def _globals(self, epoch: int, place: int) -> int:
        return derived(self._seed(epoch, place), "globals")

    def _seed(self, epoch: int, place: int) -> int:
        key = [self.seed, epoch, place, *self.key]
        mixed = np.random.SeedSequence(key).generate_state(1, np.uint64)
        return int(mixed[0]) >> 1


def _number(purpose: str) -> int:
    """Return a whole number for a word."""
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
