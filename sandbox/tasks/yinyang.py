"""Yin-Yang: three classes in a circle that a linear read-out cannot separate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Split, StaticTask, at_least_one

R_SMALL, R_BIG = 0.1, 0.5


def sample(size: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw features `[size, 4]` and labels `[size]` exactly as the authors do, bit for bit.

    For every sample a target class is drawn first, then points in the square until one lies in the circle and has that
    class. Features are x, y, 1 - x, 1 - y. The class is 2 for the dots and, as in the authors' code, 1 for the half
    with the left bulge and 0 for the other half. Raises ValueError for a size below 1.

    >>> features, labels = sample(2, seed=42)
    >>> features[0].round(4).tolist(), labels.tolist()
    ([0.6803, 0.4505, 0.3197, 0.5495], [2, 1])

    Reference: Kriener, Goeltz & Petrovici 2021, arXiv 2102.08211.
    """
    at_least_one(size=size)
    rng = np.random.RandomState(seed)
    features, labels = np.empty((size, 4)), np.empty(size, dtype=np.int64)
    for row in range(size):
        goal = rng.randint(3)
        while True:
            x, y = rng.random_sample() * 2.0 * R_BIG, rng.random_sample() * 2.0 * R_BIG
            if _distance(x, y, R_BIG) <= R_BIG and class_of(x, y) == goal:
                break
        features[row], labels[row] = (x, y, 1.0 - x, 1.0 - y), goal
    return features, labels


def class_of(x: float, y: float) -> int:
    """Return the class of a point in the circle."""
    right, left = _distance(x, y, 1.5 * R_BIG), _distance(x, y, 0.5 * R_BIG)
    if right < R_SMALL or left < R_SMALL:
        return 2
    in_bulge = left > R_SMALL and left <= 0.5 * R_BIG
    above = y > R_BIG and right > 0.5 * R_BIG
    return int(right <= R_SMALL or in_bulge or above)


def _distance(x: float, y: float, centre: float) -> float:
    return math.sqrt((x - centre) ** 2 + (y - R_BIG) ** 2)  # of plain floats: four times as fast as NumPy's


@dataclass(frozen=True)
class YinYang(StaticTask):
    """Yin-Yang with the published splits: seeds 42, 41 and 40 for training, validation and test.

    Args:
        train: number of training samples, 5000 by default.
        validation: number of validation samples, 1000 by default.
        test: number of test samples, 1000 by default.

    Raises:
        ValueError: for a number below 1.

    >>> YinYang(train=10, validation=5, test=5).load().shape
    (4,)
    """

    train: int = 5000
    validation: int = 1000
    test: int = 1000

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(train=self.train, validation=self.validation, test=self.test)

    def label(self, x: Tensor) -> Tensor:
        """Return the class `[n]` of the point that features `[n, 4]` tell twice, at their mean; -1 off the circle."""
        points = ((x[:, :2] + 1.0 - x[:, 2:]) / 2).double().tolist()
        inside = [_distance(px, py, R_BIG) <= R_BIG for px, py in points]
        return torch.tensor([class_of(*p) if here else -1 for p, here in zip(points, inside, strict=True)])

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Generate the data; no file is read."""
        drawn = (sample(size, seed) for size, seed in ((self.train, 42), (self.validation, 41), (self.test, 40)))
        train, validation, test = (Split(torch.from_numpy(x).float(), torch.from_numpy(y)) for x, y in drawn)
        return Dataset(train, validation, test, classes=3)
