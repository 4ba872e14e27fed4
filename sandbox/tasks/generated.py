"""Samples that are drawn when they are needed, each from a stream of random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.tasks.dataset import Dataset
from sandbox.tasks.splits import Samples

Trial: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"  # x [T, features], or tokens [T] int64, and classes [T] int64
Draw: TypeAlias = Callable[[np.random.Generator], Trial]
Label: TypeAlias = Callable[[np.random.Generator], int]
LOOK = 64  # samples that stand for all others in a checksum


class Generated(Samples):
    """Trials of which number n of a split is drawn from the stream `default_rng([seed, split, n])`.

    So a trial is the same in any batch and in any order, and splits have no stream in common.

    A seed fits into 32 bits: of a longer one the upper bits would stand where a shorter one has the split, so that its
    trials for training would be those of another seed for validation.

    Args:
        draw: returns one trial, x `[T, features]`, or tokens `[T]` in int64, and the class of each step `[T]`, from a
            generator.
        count: number of trials.
        seed: of the data.
        split: 0 for training, 1 for validation, 2 for test.
        label: returns the class of the whole trial, after the same first draws as in `draw`; None where each step is
            judged for itself.

    Raises:
        ValueError: for a seed of more than 32 bits.
    """

    by_step = True

    def __init__(self, draw: Draw, count: int, seed: int, split: int, label: Label | None = None) -> None:
        require_seed(seed)
        self.draw, self.count, self.seed, self.split = draw, count, seed, split
        if label is not None:
            self.labels = torch.tensor([label(self._dice(row)) for row in range(count)])

    def __len__(self) -> int:
        return self.count

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the trials with these numbers, x `[n, T, features]` and y `[n, T]`; `rng` is not used."""
        trials = [self.draw(self._dice(row)) for row in rows.tolist()]
        x, y = (torch.from_numpy(np.stack(part)) for part in zip(*trials, strict=True))
        return x if x.dtype == torch.int64 else x.float(), y

    def parts(self) -> Iterator[Tensor]:
        """Yield the first trials, the labels of all, and their number: all others come from the same code."""
        yield from self.take(torch.arange(min(LOOK, self.count)), torch.Generator())
        yield torch.tensor([self.count, self.seed, self.split])
        if self.labels is not None:
            yield self.labels

    def _dice(self, row: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.split, row])


def require_seed(seed: int) -> None:
    """Raise ValueError for a seed that does not fit into 32 bits."""
    if not 0 <= seed < 2**32:
        raise ValueError(
            f"seed={seed}: give a whole number from 0 to below 2^32, such as seed={seed % 2**32}, so that no two seeds "
            "have trials in common"
        )


def drawn(draw: Draw, sizes: tuple[int, int, int], seed: int, classes: int, label: Label | None = None) -> Dataset:
    """Return training, validation and test trials of these numbers, as sequences with a class at each step."""
    train, validation, test = (Generated(draw, size, seed, split, label) for split, size in enumerate(sizes))
    return Dataset(train, validation, test, classes, sequence=True)


def poisson(rates: NDArray[np.float64], dice: np.random.Generator) -> NDArray[np.bool_]:
    """Draw spikes from rates `[T, features]` in Hz, at steps of 1 ms: `P(spike) = rate / 1000`."""
    spikes: NDArray[np.bool_] = dice.random(rates.shape) < rates / 1000
    return spikes
