"""Small sets of the UEA and UCR archive: spoken vowels of nine speakers, and motions of a wrist."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Split, Task
from sandbox.tasks.files import read_card, read_file
from sandbox.tasks.ts_files import Series, read_ts


@dataclass(frozen=True)
class _Archived(Task):
    """A set of the archive with its own splits; the last training series of each class validate."""

    standardise: bool = True

    file: ClassVar[str]
    held: ClassVar[int]  # series of each class that validate

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    @abstractmethod
    def memory(self) -> int:
        """Steps of the longest series."""

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read two files of `ucr/` in a data folder."""
        card = read_card("ucr")
        known, tested = (
            read_ts(read_file(card, name, data_dir), name)
            for name in (f"{self.file}_TRAIN.ts.gz", f"{self.file}_TEST.ts.gz")
        )
        late = last_of_each(known, self.held)
        learned = [not validates for validates in late]
        steps = max(len(each) for each in (*known.values, *tested.values))
        mean, spread = moments([each for each, kept in zip(known.values, learned, strict=True) if kept])
        if not self.standardise:
            mean, spread = np.zeros_like(mean), np.ones_like(spread)
        everything = [True] * len(tested.values)
        train, validation, test = (
            padded(series, chosen, mean, spread, steps)
            for series, chosen in ((known, learned), (known, late), (tested, everything))
        )
        return Dataset(train, validation, test, classes=len(known.classes), sequence=True)


@dataclass(frozen=True)
class JapaneseVowels(_Archived):
    """Two vowels spoken by nine men, `[n, 29, 12]`, 7 to 29 steps of which count: who speaks; 225 / 45 / 370.

    Each step has 12 cepstrum coefficients of linear prediction; the vowels are /a/ and /e/, one behind the other. Steps
    behind the end of a series are zeros, and `lengths` has the number of those before.

    Args:
        standardise: to mean 0 and deviation 1 of each coefficient over the steps for training; True by default.

    Raises:
        ValueError, FileNotFoundError: in `load`, as `sandbox.tasks.files.read_file`.

    >>> JapaneseVowels().memory
    29

    Reference: Kudo, Toyama & Shimbo 1999, doi 10.1016/S0167-8655(99)00077-X.
    """

    file: ClassVar[str] = "JapaneseVowels"
    held: ClassVar[int] = 5

    @property
    def memory(self) -> int:
        """The longest series, at most."""
        return 29


@dataclass(frozen=True)
class BasicMotions(_Archived):
    """Motions of a wrist, `[n, 100, 6]`: standing, running, walking or badminton; 32 / 8 / 40.

    A watch records acceleration and rotation along three axes, ten times a second.

    Args:
        standardise: to mean 0 and deviation 1 of each axis over the steps for training; True by default.

    Raises:
        ValueError, FileNotFoundError: in `load`, as `sandbox.tasks.files.read_file`.

    >>> BasicMotions().memory
    100

    Reference: Bagnall et al. 2018 (arXiv 1811.00075), the archive; recorded by students of its authors.
    """

    file: ClassVar[str] = "BasicMotions"
    held: ClassVar[int] = 2

    @property
    def memory(self) -> int:
        """A whole recording, at most."""
        return 100


def last_of_each(series: Series, count: int) -> list[bool]:
    """Return which series are among the last `count` of their class.

    >>> last_of_each(Series((), ("a", "b", "a", "a"), ("a", "b")), 1)
    [False, True, False, True]
    """
    found = []
    for place, label in enumerate(series.labels):
        found.append(series.labels[place + 1 :].count(label) < count)
    return found


def moments(values: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of each dimension over all steps; a deviation of 1 for one that never changes."""
    known = np.concatenate(values)
    spread = known.std(0)
    return known.mean(0), np.where(spread > 0, spread, 1.0)


def padded(
    series: Series, chosen: Sequence[bool], mean: NDArray[np.float64], spread: NDArray[np.float64], steps: int
) -> Split:
    """Return the chosen series as a split, with zeros behind the end of each."""
    kept = [place for place, wanted in enumerate(chosen) if wanted]
    x = np.zeros((len(kept), steps, len(mean)), dtype=np.float32)
    for row, place in zip(x, kept, strict=True):
        value = (series.values[place] - mean) / spread
        row[: len(value)] = value
    lengths = torch.tensor([len(series.values[place]) for place in kept])
    y = torch.tensor([series.classes.index(series.labels[place]) for place in kept])
    return Split(torch.from_numpy(x), y, lengths if bool((lengths < steps).any()) else None)
