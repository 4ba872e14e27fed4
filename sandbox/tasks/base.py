"""The base class of tasks, tasks made of arrays, and helpers for tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from sandbox.tasks.arrays import Part, dataset_of, read
from sandbox.tasks.dataset import SPLITS, Dataset
from sandbox.tasks.splits import LazySplit, Samples, Split

__all__ = ["SPLITS", "ArrayTask", "Dataset", "LazySplit", "Samples", "Split", "Task"]


class Task(ABC):
    """Base class of tasks: a frozen dataclass of options, whose `load` returns the data.

    `memory` says how far back a model has to remember, at most: the time steps from the first input that has to do with
    the answer to the answer, both counted. It is 1 where the input of the moment is enough, and None where nobody has
    said. As much is needed where no later input says the same, as in `delayed_xor`. Where what tells the answer is
    spread over a sequence, as in recordings, later steps may be enough; such tasks say what a linear model makes of
    these. `imports` are the modules that `load` imports, which workers take over from the process that makes them.
    `exchangeable` says that training and validation samples are draws of the same kind, so that each search of tuning
    may validate on others of them.
    """

    imports: ClassVar[tuple[str, ...]] = ()

    @property
    def exchangeable(self) -> bool:
        """Whether training and validation samples may be exchanged; True, the default, unless groups are held out."""
        return True

    @property
    def memory(self) -> int | None:
        """Time steps from the first input that has to do with the answer, both counted; None, the default: unknown."""
        return None

    def label(self, x: Tensor) -> Tensor | None:
        """Return the class of features `[n, *features]`, -1 for none; None, the default: no function labels them."""
        return None

    @abstractmethod
    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the splits.

        Args:
            data_dir: the folder in which tasks with files look first; None for SANDBOX_DATA and the user's cache.
        """

    @staticmethod
    def from_arrays(
        x: Any,
        y: Any,
        *,
        test: Part = 0.2,
        validation: Part = 0.2,
        classes: int | None = None,
        target: str | None = None,
        sequence: bool = False,
        by_step: bool = False,
        lengths: Any = None,
        seed: int = 0,
        name: str = "arrays",
    ) -> ArrayTask:
        """Return a task made of arrays, for `Experiment(task=...)`.

        The kind of answer follows from y unless `target` says it: whole numbers are classes; zeros and ones in several
        columns, or bool, are labels of which a sample may have several; other numbers are values to be predicted.

        Args:
            x: `[n, *features]`, or sequences `[n, T, *features]`, NumPy or torch; or a list of sequences
                `[T_i, *features]` of different length. uint8 is divided by 255; other whole numbers are tokens.
            y: `[n]` or `[n, k]`; with `by_step` `[n, T]` or `[n, T, k]`.
            test: share of the samples to test on, their number, or a pair `(x, y)` of its own; 0.2 by default.
            validation: share of the samples to tune on, their number, or a pair, likewise.
            classes: number of classes; by default one more than the largest in y.
            target: "classes", "values" or "labels", in place of what follows from y.
            sequence: whether the second axis is time.
            by_step: whether there is an answer for each time step.
            lengths: `[n]`, the time steps that count in padded sequences; None for all.
            seed: of the order in which samples go to splits, drawn once; 0 by default.
            name: of the task in tables and folders.

        Raises:
            ValueError: for arrays that do not fit together, shares that leave no samples, and one-hot rows.

        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((100, 3))
        >>> data = Task.from_arrays(x, x.sum(1), name="sums").load()
        >>> data.target, data.outputs, [len(split) for split in (data.train, data.validation, data.test)]
        ('values', 1, [60, 20, 20])
        """
        data = dataset_of(
            x,
            y,
            test=test,
            validation=validation,
            lengths=lengths,
            classes=classes,
            target=target,
            sequence=sequence,
            by_step=by_step,
            seed=seed,
        )
        return ArrayTask(name, data)

    @staticmethod
    def from_loader(
        train: Iterable[Any],
        *,
        test: Iterable[Any] | float = 0.2,
        validation: Iterable[Any] | float = 0.2,
        time_first: bool = False,
        **options: Any,
    ) -> ArrayTask:
        """Return a task made of what loaders yield, which is read once and kept in memory.

        For data that do not fit into memory, let the `load` of a task of your own return `LazySplit`s.

        Args:
            train: yields `(x, y)`, `rules.Batch`, or what else `rules.batches.as_batch` takes.
            test: a loader, or a share of what `train` yields; 0.2 by default.
            validation: a loader, or a share, likewise.
            time_first: whether x is `[T, B, *features]`, as for `rules.Trainer`; such samples are sequences.
            options: of `from_arrays`.

        Raises:
            ValueError: as `from_arrays`, and for loaders without samples or answers.

        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> pairs = TensorDataset(torch.rand(50, 3), torch.arange(50) % 2)
        >>> data = Task.from_loader(DataLoader(pairs, batch_size=8)).load()
        >>> data.classes, len(data.train), data.train.x.shape[1]
        (2, 30, 3)
        """
        x, y, lengths = read(train, time_first)
        given = {"sequence": time_first, **options}
        tested, checked = (
            part if isinstance(part, (int, float)) else read(part, time_first) for part in (test, validation)
        )
        return Task.from_arrays(x, y, lengths=lengths, test=tested, validation=checked, **given)


@dataclass(frozen=True, eq=False)
class ArrayTask(Task):
    """A task whose data are in memory, made by `Task.from_arrays` or `Task.from_loader`.

    Args:
        name: in tables and folders.
        data: the splits.
    """

    name: str
    data: Dataset = field(repr=False)

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the splits."""
        return self.data


class StaticTask(Task):
    """Base class of tasks without time: a sample is one moment."""

    @property
    def memory(self) -> int:
        """1: the sample is there at once, and the time that an encoder adds is not the task's."""
        return 1


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
