"""MNIST: handwritten digits from the four original files, and a thousand of them that need no download."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Split, StaticTask, shuffled, split_off
from sandbox.tasks.files import card_folder, read_card, read_file

VALIDATION = 5000  # the last of the 60,000 training images


def parse_idx(content: bytes, name: str) -> Tensor:
    """Parse the array of unsigned bytes in an IDX file, `[n]` or `[n, rows, columns]`.

    Raises ValueError with the name of the file for a wrong magic number or length.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "two labels").tolist()
    [7, 9]
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or content[3] not in (1, 3):
        raise ValueError(
            f"{name} is not an IDX file of bytes: it begins with {content[:4].hex()}, wanted 00000801 or 00000803"
        )
    rank = content[3]
    header = 4 + 4 * rank
    if len(content) < header:
        raise ValueError(f"{name} ends inside its header: {len(content)} bytes, wanted at least {header}")
    shape = struct.unpack(f">{rank}I", content[4:header])
    values = np.frombuffer(content, np.uint8, offset=header)
    if values.size != np.prod(shape):
        raise ValueError(f"{name} announces {shape} bytes and holds {values.size}")
    return torch.from_numpy(values.reshape(shape).copy())


@dataclass(frozen=True)
class MNIST(StaticTask):
    """MNIST `[n, 1, 28, 28]` in 0..1: 55,000 to train, the last 5,000 training images to validate, 10,000 to test.

    `load` raises as `sandbox.tasks.files.read_file` does for files that are missing or wrong.

    Args:
        train: number of training images to keep, 1 to 55,000; all by default.

    Reference: LeCun, Bottou, Bengio & Haffner 1998, doi 10.1109/5.726791.
    """

    train: int = 55_000

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.train <= 55_000:
            raise ValueError(f"train={self.train}: give a number from 1 to 55000; the last 5000 are for validation")

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the four files."""
        card = read_card("mnist")
        arrays = [parse_idx(read_file(card, file.name, data_dir), file.name) for file in card.files]
        (x, y), (x_test, y_test) = ((images(arrays[i]), arrays[i + 1].long()) for i in (0, 2))
        cut = len(x) - VALIDATION
        train = Split(x[: self.train], y[: self.train])
        return Dataset(train, Split(x[cut:], y[cut:]), Split(x_test, y_test), classes=10)


@dataclass(frozen=True)
class MNISTSample(StaticTask):
    """A thousand MNIST digits that come with the project: 600 / 200 / 200, a hundred of each class in all.

    >>> MNISTSample().load().shape
    (1, 28, 28)
    """

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the project's own file."""
        with np.load(card_folder("mnist") / "sample_1000.npz") as file:
            x, y = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
        order = shuffled(len(y), seed=0)
        return split_off(images(x)[order], y[order], [600, 200, 200], classes=10)


def images(x: Tensor) -> Tensor:
    """Scale bytes `[n, 28, 28]` to features `[n, 1, 28, 28]` in 0..1."""
    return x[:, None].float() / 255
