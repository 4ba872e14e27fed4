"""Sequential MNIST: the digits row by row, or pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Samples, Split, Task
from sandbox.tasks.mnist import MNIST, MNISTSample

SIDE = 28  # pixels


@dataclass(frozen=True)
class SequentialMNIST(Task):
    """MNIST as sequences: rows `[n, 28, 28]` from the top, or pixels `[n, 784, 1]` in the order of reading, in 0..1.

    Images, splits and files are those of `MNIST`. After 6,000 images, a linear model of the lower 14 rows is right in
    74 % of 6,000 images for testing, and of all rows in 86 %.

    Args:
        by: "rows", the default, or "pixels".
        train: number of training images to keep, 1 to 55,000; all by default.
        sample: use the thousand digits that come with the project, 600 / 200 / 200, instead; then `train` must be left
            out. False by default.

    Raises:
        ValueError: for options out of range; `load` raises as that of `MNIST`.

    >>> SequentialMNIST(by="pixels", sample=True).load().shape, SequentialMNIST().memory
    ((1,), 28)

    Reference: Le, Jaitly & Hinton 2015, arXiv 1504.00941, for pixels in the order of reading; recalled, not read.
    """

    by: Literal["rows", "pixels"] = "rows"
    train: int = 55_000
    sample: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        whole = MNIST(self.train)  # raises for a number out of range
        if self.sample and whole != MNIST():
            raise ValueError(f"train={self.train} with sample=True: the sample has 600 to train; leave train out")

    @property
    def memory(self) -> int:
        """All time steps, at most: the upper rows have to do with the answer at the end."""
        return self.steps

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return SIDE if self.by == "rows" else SIDE**2

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the images, and put their rows or pixels in order."""
        images = (MNISTSample() if self.sample else MNIST(self.train)).load(data_dir)
        train, validation, test = (self.scanned(part) for part in (images.train, images.validation, images.test))
        return Dataset(train, validation, test, classes=10, sequence=True)

    def scanned(self, images: Samples) -> Split:
        """Return images as sequences."""
        x, y = images.take(torch.arange(len(images)), torch.Generator())
        return Split(x.reshape(len(x), self.steps, -1), y)
