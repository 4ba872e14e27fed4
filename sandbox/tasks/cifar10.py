"""CIFAR-10: small photographs of ten classes from the official files, and a subset of a tenth."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from rules.fields import check_fields
from sandbox.tasks.archives import contents, located
from sandbox.tasks.base import Dataset, Split, StaticTask, split_off
from sandbox.tasks.files import MOST, card_folder, digest, read_card, read_file
from sandbox.tasks.pickled import read_pickle

ROWS = 10_000  # images in each of the six official files
PIXELS = 3 * 32 * 32  # red, then green, then blue, each row by row
VALIDATION = 5000  # the last of the 50,000 training images
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
ADVICE = (
    "Fetch cifar-10-binary.tar.gz or cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html; "
    "it need not be unpacked."
)


class Images(NamedTuple):
    """Images as bytes, and their labels."""

    x: Tensor  # [n, 3, 32, 32] uint8
    y: Tensor  # [n] int64


def parse_binary(content: bytes, name: str, rows: int) -> Images:
    """Parse records of one byte for the class and 3,072 bytes for the colours.

    Raises ValueError with the name of the file for a wrong length or class.

    >>> parse_binary(bytes([7]) + bytes(3072), "one image", rows=1).y.tolist()
    [7]
    """
    if len(content) != rows * (1 + PIXELS):
        raise ValueError(
            f"{name} holds {len(content)} bytes; wanted {rows * (1 + PIXELS)}, {rows} records of "
            f"{1 + PIXELS}: it is truncated or a different file; unpack or fetch it again"
        )
    records = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(rows, 1 + PIXELS)
    return _images(records[:, 1:].clone(), records[:, 0].long(), name)


def parse_pickled(content: bytes, name: str, rows: int) -> Images:
    """Parse a pickled dictionary with `data`, bytes `[rows, 3072]`, and `labels`, a list; no code in it is run.

    Raises ValueError with the name of the file, as `sandbox.tasks.pickled.read_pickle` does, and for missing keys,
    wrong shapes and wrong classes.
    """
    found = read_pickle(content, name)
    missing = [key for key in (b"data", b"labels") if key not in found]
    if missing:
        raise ValueError(f"{name} lacks {missing}; it holds {sorted(map(repr, found))}: fetch it again")
    data, labels = found[b"data"], found[b"labels"]
    if not isinstance(data, np.ndarray) or data.shape != (rows, PIXELS):
        raise ValueError(
            f"{name} holds data of shape {getattr(data, 'shape', None)}; wanted ({rows}, {PIXELS}): fetch it again"
        )
    if not isinstance(labels, list) or len(labels) != rows or any(type(label) is not int for label in labels):
        raise ValueError(f"{name} holds labels that are not a list of {rows} whole numbers: fetch it again")
    return _images(torch.from_numpy(data.copy()), torch.tensor(labels), name)


def _images(pixels: Tensor, labels: Tensor, name: str) -> Images:
    if labels.min() < 0 or labels.max() > 9:
        raise ValueError(
            f"{name} has classes from {int(labels.min())} to {int(labels.max())}; wanted 0 to 9: it is "
            "corrupted or a different file; unpack or fetch it again"
        )
    return Images(pixels.view(-1, 3, 32, 32), labels)


Parser = Callable[[bytes, str, int], Images]
VERSIONS: dict[str, tuple[str, Parser]] = {  # file extension of the batches, and their parser
    "cifar-10-batches-bin": (".bin", parse_binary),
    "cifar-10-binary.tar.gz": (".bin", parse_binary),
    "cifar-10-batches-py": ("", parse_pickled),
    "cifar-10-python.tar.gz": ("", parse_pickled),
}


def read_version(path: Path, rows: int = ROWS, sha256: str | None = None, most: int = MOST) -> list[Images]:
    """Read the five training batches and the test batch of one of the official versions, unpacked or not.

    `sha256` is the checksum of an archive as packed, `most` the number of bytes to which it may unpack. Raises
    ValueError for an archive with a different checksum, for missing batches, and as the parsers do.
    """
    if sha256 is not None:
        found_sum = digest(path)
        if found_sum != sha256:
            raise ValueError(
                f"{path} is truncated or corrupted: expected SHA-256 {sha256}, found {found_sum}; remove it "
                "and fetch it again"
            )
    ending, parse = VERSIONS[path.name]
    names = [batch + ending for batch in BATCHES]
    found = contents(path, re.compile("|".join(map(re.escape, names))), most)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; wanted {', '.join(names)}: unpack or fetch it again")
    return [parse(found.pop(name), f"{path}/{name}", rows) for name in names]


@dataclass(frozen=True)
class CIFAR10(StaticTask):
    """CIFAR-10 `[n, 3, 32, 32]` in 0..1: 45,000 to train, the last 5,000 training images to validate, 10,000 to test.

    Read from the binary or the Python version, unpacked or not, in `cifar10/` of a data folder or in the folder itself.
    The pickles of the Python version are read without running any code in them.

    Args:
        train: number of training images to keep, 1 to 45,000; all by default.

    Raises:
        ValueError: for a number out of range; in `load`, for files that are truncated or not the official ones.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    Reference: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    train: int = 45_000

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= self.train <= 45_000:
            raise ValueError(f"train={self.train}: give a number from 1 to 45000; the last 5000 are for validation")

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the official files."""
        path = located([folder + name for folder in ("cifar10/", "") for name in VERSIONS], data_dir, ADVICE)
        card = yaml.safe_load((card_folder("cifar10") / "card.yaml").read_text())
        *batches, test = read_version(path, sha256=card["archives"].get(path.name), most=card["unpacked"])
        x, y = torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches])
        train, validation = slice(self.train), slice(len(y) - VALIDATION, None)
        return Dataset(
            Split(scaled(x[train]), y[train]),
            Split(scaled(x[validation]), y[validation]),
            Split(scaled(test.x), test.y),
            classes=10,
        )


@dataclass(frozen=True)
class CIFAR10Head(StaticTask):
    """A subset of CIFAR-10, whose accuracy must never be reported as CIFAR-10's: 4,500 / 500 / 1,000 images.

    It has the first 1,000 images of each of the six official batches. The last 500 training images, half of those from
    the fifth batch, are for validation: 39 to 57 of each class, because the official order is random. `load` raises as
    `sandbox.tasks.files.read_file` does for a file that is missing or wrong. Reference: that of `CIFAR10`.
    """

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read `cifar10-head/cifar10_head.npz` in a data folder."""
        card = read_card("cifar10_head")._replace(name="cifar10-head")
        content = read_file(card, card.files[0].name, data_dir)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            x, y = (np.concatenate([file[f"train_{part}"], file[f"test_{part}"]]) for part in ("images", "labels"))
        return split_off(scaled(torch.from_numpy(x)), torch.from_numpy(y), [4500, 500, 1000], classes=10)


def scaled(x: Tensor) -> Tensor:
    """Scale bytes to features in 0..1."""
    return x.float() / 255
