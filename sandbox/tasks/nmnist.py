"""N-MNIST: MNIST's digits as seen by an event camera that moves, and 1,100 of them in one file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from rules.fields import check_fields
from rules.steps import SLACK
from sandbox.cameras import Events
from sandbox.cameras.nmnist import SENSOR, parse
from sandbox.tasks.archives import located
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.events import Recordings, Steps
from sandbox.tasks.files import card_folder, read_card, read_file

NAME = re.compile(r"\d+\.bin")
FOLDERS = ("Train", "Test")
VALIDATION = 5000  # the last of the 60,000 training recordings
VALIDATION_SMALL = 100  # the last of the 1,000
ADVICE = (
    "Fetch Train.zip and Test.zip of N-MNIST from https://www.garrickorchard.com/datasets/n-mnist, and unpack them, so "
    "that there is nmnist/Train/0/00002.bin."
)


class Files(Recordings):
    """Recordings in files, one each, which are read when they are needed."""

    def __init__(self, paths: list[Path], steps: int, duration: float) -> None:
        super().__init__(torch.tensor([int(path.parent.name) for path in paths]), Steps(steps, duration))
        self.paths, self.settings = paths, f"{steps} {duration}"

    def events(self, row: int) -> Events:
        """Read a file."""
        path = self.paths[row]
        return parse(path.read_bytes(), str(path))

    def parts(self) -> Iterator[Tensor]:
        """Yield names and sizes of all files in place of their events, and the settings."""
        said = "\n".join(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in self.paths)
        yield torch.tensor(list(f"{said}\n{self.settings}".encode()), dtype=torch.uint8)


class Together(Recordings):
    """Recordings in memory, one behind the other; those of number k are `offsets[k]:offsets[k + 1]`."""

    def __init__(self, events: Events, offsets: Tensor, y: Tensor, steps: int, duration: float) -> None:
        super().__init__(y, Steps(steps, duration))
        self.whole, self.offsets, self.settings = events, offsets, torch.tensor([steps, duration], dtype=torch.float64)

    def events(self, row: int) -> Events:
        """Return the events of one recording."""
        start, end = self.offsets[row : row + 2].tolist()
        t, x, y, p = (part[start:end] for part in self.whole[:4])
        return Events(t, x, y, p, SENSOR)

    def parts(self) -> Iterator[Tensor]:
        """Yield the events, where each recording begins, the classes, and the settings."""
        start, end = int(self.offsets[0]), int(self.offsets[-1])
        t, x, y, p, _ = self.whole
        yield from (torch.from_numpy(part[start:end].astype(np.int64)) for part in (x, y, p, t))
        yield from (self.offsets, self.y, self.settings)


@dataclass(frozen=True)
class _Counted(Task):
    """Options of both tasks."""

    steps: int = 34
    duration: float = 10.0  # [ms]

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(steps=self.steps)
        if not 0.001 <= self.duration <= 1000:
            raise ValueError(f"duration={self.duration} ms: give the length of a step, from 0.001 to 1000 ms")
        if abs(1000 * self.duration - round(1000 * self.duration)) > SLACK:
            raise ValueError(f"duration={self.duration} ms: give a whole number of us, such as {self.duration:.3f} ms")

    @property
    def memory(self) -> int:
        """All time steps, at most: the last saccade shows the same digit as the first two."""
        return self.steps


@dataclass(frozen=True)
class NMNIST(_Counted):
    """N-MNIST as counts of events `[n, steps, 2, 34, 34]`: 55,000 / 5,000 / 10,000 recordings of three saccades.

    Read from the official folders `Train` and `Test`, each with a folder for every digit, in `nmnist/` of a data
    folder. The validation set is the last 5,000 training recordings by number. Files are read when they are needed.
    Events are counted in steps of `duration`; none is lost, because those after the last step belong to it
    (`sandbox.cameras.by_time`). A recording lasts about 310 ms, which the defaults cover. How much memory is needed was
    measured on `NMNISTSmall` alone.

    Args:
        steps: number of time steps.
        duration: of a step [ms].

    Raises:
        ValueError: for options out of range; in `load`, for folders that do not hold all recordings; while learning,
            for a file that is truncated or has an event outside of the image.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    >>> NMNIST(steps=17, duration=20.0).memory
    17

    Reference: Orchard, Jayawant, Cohen & Thakor 2015, doi 10.3389/fnins.2015.00437; `sandbox.cameras.nmnist` for the
    format.
    """

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """List the recordings."""
        root = located(["nmnist/Train", "N-MNIST/Train", "NMNIST/Train"], data_dir, ADVICE).parent
        counts = yaml.safe_load((card_folder("nmnist") / "card.yaml").read_text())["recordings"]
        train, test = (listed(root / folder, counts[folder]) for folder in FOLDERS)
        cut = len(train) - min(VALIDATION, len(train) // 2)
        parts = (Files(paths, self.steps, self.duration) for paths in (train[:cut], train[cut:], test))
        learn, check, final = parts
        return Dataset(learn, check, final, classes=10, sequence=True)


def listed(folder: Path, wanted: int) -> list[Path]:
    """Return the recordings of all digits in a folder, by number; raise ValueError unless there are so many."""
    paths = [path for digit in range(10) for path in (folder / str(digit)).glob("*.bin") if NAME.fullmatch(path.name)]
    if len(paths) != wanted:
        raise ValueError(
            f"{folder} has {len(paths)} recordings; wanted {wanted}, in folders 0 to 9, or accuracies are not those of "
            f"N-MNIST: unpack {folder.name}.zip again"
        )
    return sorted(paths, key=lambda path: int(path.stem))


@dataclass(frozen=True)
class NMNISTSmall(_Counted):
    """A subset of N-MNIST, whose accuracy must never be reported as N-MNIST's: 900 / 100 / 100 recordings.

    These are real recordings of the first images of MNIST, counts of events `[n, steps, 2, 34, 34]` as in `NMNIST`; the
    last 100 of the 1,000 for training are for validation. The last saccade is enough: a linear model of the summed
    counts of the last 8 steps is right in 86 % of the 100 recordings for testing, of all 34 steps in 80 %. `load`
    raises as `sandbox.tasks.files.read_file` does for a file that is missing or wrong.

    Args:
        steps: number of time steps.
        duration: of a step [ms].

    >>> NMNISTSmall().steps * NMNISTSmall().duration
    340.0

    Reference: that of `NMNIST`.
    """

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read `nmnist-small/nmnist_small.npz` in a data folder."""
        card = read_card("nmnist_small")._replace(name="nmnist-small")
        content = read_file(card, card.files[0].name, data_dir)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            whole = {part: _held(file, part) for part in ("train", "test")}
            offsets, labels = (
                {part: torch.from_numpy(file[f"{part}_{name}"]).long() for part in whole}
                for name in ("offsets", "labels")
            )
        cut = len(labels["train"]) - VALIDATION_SMALL
        parts = (("train", 0, cut), ("train", cut, None), ("test", 0, None))
        splits = (
            Together(
                whole[part],
                offsets[part][start:][: None if end is None else end - start + 1],
                labels[part][start:end],
                self.steps,
                self.duration,
            )
            for part, start, end in parts
        )
        train, validation, test = splits
        return Dataset(train, validation, test, classes=10, sequence=True)


def _held(file: Any, part: str) -> Events:
    """Return the events of all recordings of a part, one behind the other."""
    t, x, y, p = (file[f"{part}_{name}"] for name in "txyp")
    return Events(t, x, y, p, SENSOR)
