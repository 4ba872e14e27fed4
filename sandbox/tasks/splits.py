"""The samples of a split: in memory, or read when they are needed."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from rules.batches import as_batch
from rules.seeds import seeded

CHUNK = 256  # samples that are read at a time for a checksum


class Samples(ABC):
    """Samples and their answers, in a fixed order; inherit from it to read them from wherever they are.

    `lengths [n]` are the time steps that count in padded sequences, None for all. `by_step` says that there is an
    answer for every time step. `labels [n]` are then the classes of whole samples, by which accuracy is judged; None
    where it is judged step by step.
    """

    lengths: Tensor | None = None
    by_step: bool = False
    labels: Tensor | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return x and y of the samples with these numbers, `[len(rows), ...]` each.

        The same numbers and the same state of `rng`, the source of every random draw, give the same bits.
        """

    def stream(self, batches: Sequence[Tensor], rngs: Sequence[torch.Generator]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `take` returns for each batch of numbers; override it to read ahead."""
        for rows, rng in zip(batches, rngs, strict=True):
            yield self.take(rows, rng)

    def first(self, most: int) -> Samples:
        """Return the first `most` samples."""
        return First(self, min(most, len(self)))

    def parts(self) -> Iterator[Tensor]:
        """Yield all arrays, piece by piece, for a checksum."""
        chunks = torch.split(torch.arange(len(self)), CHUNK)
        for pair in self.stream(chunks, [seeded(0, "checksum") for _ in chunks]):
            yield from pair
        yield from (part for part in (self.lengths, self.labels) if part is not None)


@dataclass(frozen=True, eq=False)
class Split(Samples):
    """Samples in memory.

    Args:
        x: `[n, *features]` float32, or `[n, T, *features]` in a set of sequences; whole numbers are tokens.
        y: `[n]` int64 classes; numbers `[n]` or `[n, k]` float32; several labels `[n, k]`, 0 or 1, float32. With an
            answer at each step `[n, T]` or `[n, T, k]`.
        lengths: `[n]` int64, the time steps that count; None for all.
        by_step: whether y has an answer for each step.
        labels: `[n]` int64, the class of each sample beside the answers at its steps; None for none.

    >>> split = Split(torch.rand(10, 4), torch.zeros(10, dtype=torch.int64))
    >>> len(split), len(split.first(3))
    (10, 3)
    """

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None
    by_step: bool = False
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield x and y, so that `x, y = split` works."""
        return iter((self.x, self.y))

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the samples with these numbers."""
        return self.x[rows], self.y[rows]

    def first(self, most: int) -> Split:
        """Return the first `most` samples."""
        lengths, labels = (None if part is None else part[:most] for part in (self.lengths, self.labels))
        return Split(self.x[:most], self.y[:most], lengths, self.by_step, labels)

    def parts(self) -> Iterator[Tensor]:
        """Yield the arrays."""
        yield from (part for part in (self.x, self.y, self.lengths, self.labels) if part is not None)


class First(Samples):
    """The first samples of others."""

    def __init__(self, whole: Samples, count: int) -> None:
        self.whole, self.count = whole, count
        self.lengths, self.labels = (None if part is None else part[:count] for part in (whole.lengths, whole.labels))
        self.by_step = whole.by_step

    def __len__(self) -> int:
        return self.count

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return those of the whole."""
        return self.whole.take(rows, rng)

    def stream(self, batches: Sequence[Tensor], rngs: Sequence[torch.Generator]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield those of the whole."""
        return self.whole.stream(batches, rngs)


class LazySplit(Samples):
    """A torch `Dataset` of `(x, y)` pairs, or dicts, which is read batch by batch and may be larger than memory.

    Samples come in the order that is asked for, whatever the number of workers. Random draws of the data set, such as
    augmentation, are seeded sample by sample: torch's, NumPy's and Python's global generators are set before each, and
    restored behind it, so that runs repeat with any number of workers.

    Args:
        dataset: has `len(dataset)` and `dataset[number]`.
        workers: processes of torch's DataLoader that read ahead; 0, the default, reads in this process.
        checksum: what is recorded in place of a checksum of all samples, such as a version; None reads them all once.
        by_step: whether y has an answer for each step.

    >>> from torch.utils.data import TensorDataset
    >>> split = LazySplit(TensorDataset(torch.arange(8.0)[:, None], torch.arange(8)))
    >>> split.take(torch.tensor([3, 1]), torch.Generator())[1].tolist()
    [3, 1]
    """

    def __init__(self, dataset: Any, *, workers: int = 0, checksum: str | None = None, by_step: bool = False) -> None:
        for name in ("__len__", "__getitem__"):
            if not hasattr(dataset, name):
                raise TypeError(
                    f"{type(dataset).__name__} has no {name}, so its samples cannot be taken by number: give a "
                    "torch.utils.data.Dataset with a length, or read it once with Task.from_loader(train, ...)"
                )
        if workers < 0:
            raise ValueError(f"workers={workers}: give the number of processes that read ahead, or 0")
        self.dataset, self.workers, self.checksum, self.by_step = dataset, workers, checksum, by_step

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Read the samples with these numbers."""
        reader = Reader(self.dataset)
        return _pair([reader[numbered] for numbered in _numbered(rows, rng)])

    def stream(self, batches: Sequence[Tensor], rngs: Sequence[torch.Generator]) -> Iterator[tuple[Tensor, Tensor]]:
        """Read the batches in their order, ahead of time if there are workers."""
        if self.workers == 0:
            yield from super().stream(batches, rngs)
            return
        asked = [_numbered(rows, rng) for rows, rng in zip(batches, rngs, strict=True)]
        yield from DataLoader(
            Reader(self.dataset),  # type: ignore[arg-type]  # torch needs no more than these two methods
            batch_sampler=asked,
            num_workers=self.workers,
            collate_fn=_pair,
            generator=seeded(0, "workers"),  # draws the seeds of workers, else from the global generator
        )

    def parts(self) -> Iterator[Tensor]:
        """Yield all samples, or the given checksum as bytes."""
        if self.checksum is None:
            yield from super().parts()
        else:
            yield torch.tensor(list(self.checksum.encode()), dtype=torch.uint8)


class Reader:
    """A data set whose samples are asked for by a number and a seed."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, numbered: tuple[int, int]) -> Any:
        number, seed = numbered
        with _seeded(seed):
            return self.dataset[number]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Set the global generators of torch, NumPy and Python in a block."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002 -- those that the data set draws from
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


def _numbered(rows: Tensor, rng: torch.Generator) -> list[tuple[int, int]]:
    """Return the numbers of samples, each with a seed of its own."""
    seeds = torch.randint(2**62, (len(rows),), generator=rng)
    return list(zip(rows.tolist(), seeds.tolist(), strict=True))


def _pair(samples: list[Any]) -> tuple[Tensor, Tensor]:
    """Stack samples, and return x and y as a trainer would read them."""
    batch = as_batch(default_collate(samples))
    y = batch.y if batch.y is not None else batch.targets
    if not isinstance(batch.x, Tensor) or y is None:
        raise TypeError(
            f"the data set returns {type(samples[0]).__name__}s that do not make one input x and one answer y: return "
            "(x, y), or {'x': x, 'y': y}"
        )
    return batch.x.to(torch.get_default_dtype()) if batch.x.is_floating_point() else batch.x, y
