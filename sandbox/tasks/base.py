"""The base class of tasks, and data sets with their three splits."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

SPLITS = ("train", "validation", "test")


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


def checked(data: object, task: str, splits: Sequence[str] = SPLITS) -> Dataset:
    """Return what the `load` of a task returned, after a look at these splits.

    Raises:
        ValueError: naming the task and the split, for anything but three splits of finite samples `[n, ...]`, not in
            float64, with as many labels, whole numbers from 0 to classes - 1.

    Warns: for `[n, a, b]` that are not declared as sequences.
    """
    if not isinstance(data, Dataset):
        raise ValueError(f"task {task!r}: load returned a {type(data).__name__}; let it return sandbox.Dataset")
    for place in splits:
        split = getattr(data, place)
        if not isinstance(split, Split):
            raise ValueError(f"task {task!r}, {place}: it is a {type(split).__name__}; give a sandbox.Split(x, y)")
        problem = _problem(split.x, split.y, data.classes)
        if problem is None and split.x.shape[data.sequence + 1 :] != data.train.x.shape[data.sequence + 1 :]:
            problem = f"samples of shape {list(split.x.shape[1:])}, and train has {list(data.train.x.shape[1:])}"
        if problem:
            raise ValueError(f"task {task!r}, {place}: {problem}")
    if len(data.train.y.unique()) < 2:
        raise ValueError(f"task {task!r}, train: all labels are equal; there is nothing to learn")
    if data.train.x.ndim == 3 and not data.sequence:
        warnings.warn(
            f"task {task!r}: samples of shape {list(data.train.x.shape[1:])} are taken as features of one moment; if "
            "the first number counts time steps, return Dataset(..., sequence=True)",
            stacklevel=3,
        )
    return data


def _problem(x: object, y: object, classes: int) -> str | None:
    """Return what is wrong with samples and labels, None for nothing."""
    for name, part in (("x", x), ("y", y)):
        if not isinstance(part, Tensor):
            return f"{name} is a {type(part).__name__}; give a tensor, with torch.from_numpy or torch.tensor"
    assert isinstance(x, Tensor)
    assert isinstance(y, Tensor)
    if y.ndim != 1 or len(x) != len(y) or len(x) == 0:
        return f"x has shape {list(x.shape)} and y {list(y.shape)}; samples come first, and there is one label for each"
    if x.dtype == torch.float64:  # weights are float32; whole numbers may be what a model embeds
        return "x is torch.float64; give x.float()"
    if not x.isfinite().all():
        return "x holds NaN or infinity"
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        return f"y is {y.dtype}; give labels as whole numbers, y.long()"
    low, high = int(y.min()), int(y.max())
    return None if low >= 0 and high < classes else f"labels run from {low} to {high}, with classes={classes}"


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
