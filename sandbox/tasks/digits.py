"""Digits: 1,797 images of 8 x 8, a quick test that a linear read-out nearly solves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, StaticTask, shuffled, split_off


@dataclass(frozen=True)
class Digits(StaticTask):
    """The optical digits of scikit-learn, scaled to 0..1: 1,200 to train, 200 to validate, 397 to test.

    The order is one fixed permutation (seed 0), because the file is sorted by writer.

    Args:
        image: samples are images `[1, 8, 8]` for convolutions, instead of `[64]`.

    >>> Digits().load().shape, Digits(image=True).load().shape
    ((64,), (1, 8, 8))

    Reference: Alpaydin & Kaynak 1998, UCI Machine Learning Repository, doi 10.24432/C50P49.
    """

    imports: ClassVar[tuple[str, ...]] = ("sklearn.datasets",)

    image: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the copy inside scikit-learn."""
        from sklearn.datasets import load_digits

        found = load_digits()
        order = shuffled(len(found.target), seed=0)
        x, y = torch.from_numpy(found.data)[order] / 16, torch.from_numpy(found.target)[order]
        x = x.view(-1, 1, 8, 8) if self.image else x
        return split_off(x, y, [1200, 200, 397], classes=10)
