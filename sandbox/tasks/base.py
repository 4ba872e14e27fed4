"""The base class of tasks, and data sets with their three splits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor


class Split(NamedTuple):
    """Samples and their labels."""

    x: Tensor  # [n, *features] float32, or [n, T, *features] in a set of sequences
    y: Tensor  # [n] int64


class Dataset(NamedTuple):
    """Three fixed splits: train on the first, tune on the second, test once on the third.

    Args:
        train: samples to learn from.
        validation: samples to tune on.
        test: samples for the final accuracy.
        classes: number of classes.
        sequence: True if samples are sequences, `[n, T, *features]`; False by default.
    """

    train: Split
    validation: Split
    test: Split
    classes: int
    sequence: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of one sample, without time."""
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
    """Base class of tasks: a frozen dataclass of options, whose `load` returns the data."""

    @abstractmethod
    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the splits.

        Args:
            data_dir: the folder in which tasks with files look first; None for SANDBOX_DATA and the user's cache.
        """


def at_least_one(**sizes: int) -> None:
    """Raise ValueError with the name of the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}: give a whole number, at least 1")


def split_off(x: Tensor, y: Tensor, sizes: list[int], classes: int) -> Dataset:
    """Split consecutive samples into train, validation and test."""
    parts = zip(torch.split(x.float(), sizes), torch.split(y.long(), sizes), strict=True)
    train, validation, test = (Split(a, b) for a, b in parts)
    return Dataset(train, validation, test, classes)


def shuffled(size: int, seed: int) -> Tensor:
    """Return a permutation drawn from a seed, independent of the global generator."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))
