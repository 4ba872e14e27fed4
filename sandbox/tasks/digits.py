"""Digits: 1,797 images of 8 x 8, a quick test that a linear read-out nearly solves."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
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

    image: bool = False

    def __post_init__(self) -> None:
        check_fields(self)

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the copy inside scikit-learn."""
        pixels, classes = images()
        order = shuffled(len(classes), seed=0)
        x, y = torch.from_numpy(pixels)[order] / 16, torch.from_numpy(classes)[order]
        x = x.view(-1, 1, 8, 8) if self.image else x
        return split_off(x, y, [1200, 200, 397], classes=10)


def images() -> tuple[Any, Any]:
    """Return pixels `[1797, 64]` and classes `[1797]`, without importing scikit-learn where its file is found."""
    found = find_spec("sklearn")
    for place in found.submodule_search_locations or () if found is not None else ():
        path = Path(place, "datasets", "data", "digits.csv.gz")
        if path.exists():
            rows = np.loadtxt(path, delimiter=",")
            return rows[:, :-1], rows[:, -1].astype(int)
    from sklearn.datasets import load_digits

    held = load_digits()
    return held.data, held.target
