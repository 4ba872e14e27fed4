"""What the two tasks of moving digits share: where their digits come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from numpy.typing import NDArray

from sandbox.tasks.dataset import SPLITS
from sandbox.tasks.mnist import MNIST, MNISTSample

SIDE = 28  # pixels of a digit
LOOK = 8  # samples of a split that stand for all others in a checksum
Source: TypeAlias = Literal["mnist_sample", "mnist"]
Still: TypeAlias = tuple[NDArray[Any], NDArray[Any]]  # images [n, 28, 28] in 0..1 and their classes [n]


def stills(digits: Source, data_dir: Path | str | None) -> dict[str, Still]:
    """Return the digits of each split: the thousand that come with the project, or all of MNIST."""
    data = (MNISTSample() if digits == "mnist_sample" else MNIST()).load(data_dir)
    found = {}
    for name in SPLITS:
        split = getattr(data, name)
        x, y = split.take(torch.arange(len(split)), torch.Generator())
        found[name] = (x[:, 0].numpy(), y.numpy())
    return found
