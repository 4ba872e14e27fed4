"""CIFAR10-DVS: pictures of CIFAR-10, moved on a screen, as an event camera saw them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import yaml
from torch import Tensor

from rules.fields import check_fields
from sandbox.cameras import Events, read
from sandbox.tasks.archives import located
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.events import Parts, Recordings
from sandbox.tasks.files import card_folder

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SUFFIXES = (".aedat", ".aedat4", ".mat")  # the first of these that a folder has
SENSOR = (128, 128)
NUMBER = re.compile(r"(\d+)$")
TESTED = 10  # one in so many recordings of a class is for testing, and one for validation
ADVICE = (
    "Fetch airplane.zip to truck.zip of CIFAR10-DVS from https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671 "
    "and unpack them, so that there is cifar10-dvs/airplane/cifar10_airplane_0.aedat."
)


class Paths(Recordings):
    """Recordings in files, one each, which are read when they are needed.

    Args:
        paths: of the files.
        y: their classes.
        framing: makes frames of events.
    """

    def __init__(self, paths: list[Path], y: list[int], framing: Parts) -> None:
        super().__init__(torch.tensor(y), framing)
        self.paths = paths

    def events(self, row: int) -> Events:
        """Read a file."""
        return read(self.paths[row], sensor=SENSOR)

    def parts(self) -> Iterator[Tensor]:
        """Yield names and sizes of all files in place of their events, and the settings."""
        said = "\n".join(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in self.paths)
        yield torch.tensor(list(f"{said}\n{self.framing}".encode()), dtype=torch.uint8)


@dataclass(frozen=True)
class CIFAR10DVS(Task):
    """CIFAR10-DVS as counts of events `[n, steps, 2, 128, 128]`: 8,000 / 1,000 / 1,000 recordings.

    Read from a folder for every class in `cifar10-dvs/` of a data folder: the `.aedat` files of the authors, or the
    same in AEDAT 4 or as `.mat`. The authors name no split. As is usual, the last tenth of each class by number is for
    testing; of the other nine the last is for validation, so that results on 9,000 are not comparable. Files are read
    when they are needed, and every event is counted. Tested with files that our tests write, not with the data set.

    Args:
        steps: number of frames.
        frames: "number", frames with the same number of events, or "time", frames of the same length.
        pool: side of the squares of pixels that are added up, 1, 2, 4 or 8: 2 makes 64 x 64.

    Raises:
        ValueError: for options out of range; in `load`, for folders that do not hold all recordings; while learning,
            for files as `sandbox.cameras.read` says.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    >>> CIFAR10DVS(pool=4).memory
    10

    Reference: Li, Liu, Ji, Li & Shi 2017, doi 10.3389/fnins.2017.00309. Ten frames of the same number of events, and
    the first nine tenths of each class, are the example of SpikingJelly.
    """

    steps: int = 10
    frames: Literal["number", "time"] = "number"
    pool: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(steps=self.steps)
        require_pool(self.pool)

    @property
    def memory(self) -> int:
        """All frames, at most: each shows the picture."""
        return self.steps

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """List the recordings."""
        names = ["cifar10-dvs/airplane", "CIFAR10DVS/airplane", "CIFAR10-DVS/airplane"]
        root = located(names, data_dir, ADVICE).parent
        wanted = yaml.safe_load((card_folder("cifar10_dvs") / "card.yaml").read_text())["recordings"]
        splits: list[tuple[list[Path], list[int]]] = [([], []), ([], []), ([], [])]
        for label, name in enumerate(CLASSES):
            found = listed(root / name, wanted)
            held = len(found) // TESTED
            for (paths, y), part in zip(
                splits, (found[: -2 * held], found[-2 * held : -held], found[-held:]), strict=True
            ):
                paths += part
                y += [label] * len(part)
        framing = Parts(self.steps, self.frames, self.pool)
        train, validation, test = (Paths(paths, y, framing) for paths, y in splits)
        return Dataset(train, validation, test, classes=len(CLASSES), sequence=True)


def require_pool(pool: int) -> None:
    """Raise ValueError unless squares of so many pixels fill the sensor of the DVS128."""
    if pool not in (1, 2, 4, 8):
        raise ValueError(f"pool={pool}: give 1, 2, 4 or 8 pixels, for frames of 128, 64, 32 or 16")


def listed(folder: Path, wanted: int) -> list[Path]:
    """Return the recordings of a class, by number; raise ValueError unless there are so many."""
    for suffix in SUFFIXES:
        paths = [path for path in folder.glob(f"*{suffix}") if NUMBER.search(path.stem)]
        if paths:
            break
    if len(paths) != wanted:
        raise ValueError(
            f"{folder} has {len(paths)} recordings that end in a number and in {', '.join(SUFFIXES)}; wanted {wanted}, "
            f"or accuracies are not those of CIFAR10-DVS: unpack {folder.name}.zip again"
        )
    return sorted(paths, key=lambda path: int(NUMBER.search(path.stem)[1]))  # type: ignore[index]  # it has matched
