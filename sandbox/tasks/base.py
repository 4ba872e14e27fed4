"""A task: where samples come from, and which of them a run may learn from, tune on, and look at once."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """Samples and their classes."""

    x: Tensor  # [n, *features] float32, or [n, T, *features] in a set of sequences
    y: Tensor  # [n] int64


class Dataset(NamedTuple):
    """Three fixed splits: learn from one, tune on the second, look at the third once.

    `sequence` says that samples are sequences, `[n, T, *features]`.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    sequence: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Features of one sample, without time."""
        return tuple(self.train.x.shape[2 if self.sequence else 1 :])

    @property
    def checksum(self) -> str:
        """SHA-256 over the bytes of all arrays, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for part in split:
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()


class Task(ABC):
    """A frozen dataclass of options; `load` gives the data."""

    @abstractmethod
    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """The splits; `data_dir` is looked into first by tasks that are read from files."""


def at_least_one(**sizes: int) -> None:
    """Raises ValueError that names the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}: give a whole number, at least 1")


def split_off(x: Tensor, y: Tensor, sizes: list[int], classes: int) -> Dataset:
    """Consecutive samples as train, validation and test."""
    parts = zip(torch.split(x.float(), sizes), torch.split(y.long(), sizes), strict=True)
    train, validation, test = (Split(a, b) for a, b in parts)
    return Dataset(train, validation, test, classes)


def shuffled(size: int, seed: int) -> Tensor:
    """A permutation from a seed of its own."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
