"""DVS128 Gesture: hands and arms before an event camera, and a table of which gesture is made when."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rules.fields import check_fields
from sandbox.cameras import Events, read
from sandbox.tasks.archives import located
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.cifar10_dvs import SENSOR, require_pool
from sandbox.tasks.events import Parts
from sandbox.tasks.splits import Samples

CLASSES = 11  # numbered from 1 in the tables
HELD = 3  # the last persons for training by number, who are for validation
TRIALS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
HEADER = ["class", "startTime_usec", "endTime_usec"]
NUMBER = re.compile(r"[0-9]{1,18}")  # of at most 63 bits
PERSON = re.compile(r"user(\d+)_\w+\.aedat")
ADVICE = (
    "Fetch DvsGesture.tar.gz from https://research.ibm.com/interactive/dvsgesture and unpack it, so that there is "
    "dvs-gesture/DvsGesture/trials_to_train.txt."
)


class Gesture(NamedTuple):
    """One row of a table: which gesture is made when."""

    label: int  # from 0
    start: int  # [us]
    end: int  # [us]


class Trials(Samples):
    """Gestures in the files of trials, which are read one after the other when the first frames are needed.

    A file has about twelve gestures, and is read once; the frames of all gestures of the split are kept.

    Args:
        paths: of the files.
        framing: makes frames of events.
    """

    def __init__(self, paths: list[Path], framing: Parts) -> None:
        self.paths, self.framing = paths, framing
        self.tables = [gestures(path) for path in paths]
        self.y = torch.tensor([one.label for table in self.tables for one in table])
        self.kept: Tensor | None = None  # frames of all gestures, [n, steps, 2, side, side]

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return counts `[n, steps, 2, side, side]` and classes of the gestures with these numbers."""
        if self.kept is None:
            frames = []
            for path, table in zip(self.paths, self.tables, strict=True):
                events = read(path, sensor=SENSOR)
                frames += [self._framed(path, events, one) for one in table]
            self.kept = torch.from_numpy(np.stack(frames))
        return self.kept[rows], self.y[rows]

    def parts(self) -> Iterator[Tensor]:
        """Yield names and sizes of all files in place of their events, the tables, and the settings."""
        said = "\n".join(f"{path.name} {path.stat().st_size}" for path in self.paths)
        yield torch.tensor(list(f"{said}\n{self.tables}\n{self.framing}".encode()), dtype=torch.uint8)

    def _framed(self, path: Path, events: Events, one: Gesture) -> NDArray[np.float32]:
        """Return the frames of one gesture."""
        part = events.between(one.start, one.end)
        if part.number < self.framing.steps:
            raise ValueError(
                f"{path} has {part.number} events from {one.start} to {one.end} us, where its table has gesture "
                f"{one.label + 1}; wanted one for each of {self.framing.steps} frames: unpack its archive again"
            )
        return self.framing(part)


@dataclass(frozen=True)
class DVSGesture(Task):
    """DVS128 Gesture as counts of events `[n, steps, 2, 128 / pool, 128 / pool]`, in 11 classes.

    Read from the folder `DvsGesture` of the authors in `dvs-gesture/` of a data folder: files in AEDAT 3.1, each with a
    table of gestures, `class,startTime_usec,endTime_usec`, of which each row is a sample, and two lists that name the
    files for training (23 persons) and for testing (6 others). The three persons for training with the largest numbers
    are for validation, so those are persons who were not seen either. SpikingJelly counts 1,176 and 288 samples. The
    first batch of a split reads all of its files, and the frames stay in memory, with the defaults 131 kB
    for each sample. Tested with files that our tests write, not with the data set.

    Args:
        steps: number of frames.
        frames: "number", frames with the same number of events, or "time", frames of the same length.
        pool: side of the squares of pixels that are added up, 1, 2, 4 or 8: 4 makes 32 x 32.

    Raises:
        ValueError: for options out of range; in `load`, for lists and tables with something else in them; while
            learning, for files as `sandbox.cameras.read` says, and gestures with fewer events than frames.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    >>> DVSGesture().memory
    16

    Reference: Amir et al. 2017, A Low Power, Fully Event-Based Gesture Recognition System, CVPR; the folder as
    SpikingJelly 2.0.0 reads it (code read, not used).
    """

    steps: int = 16
    frames: Literal["number", "time"] = "number"
    pool: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(steps=self.steps)
        require_pool(self.pool)

    @property
    def exchangeable(self) -> bool:
        """False: validation samples are of persons who are not seen in training."""
        return False

    @property
    def memory(self) -> int:
        """All frames, at most: gestures repeat."""
        return self.steps

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the lists and tables."""
        names = [f"dvs-gesture/{TRIALS['train']}", f"dvs-gesture/DvsGesture/{TRIALS['train']}"]
        names += [f"DVS128Gesture/DvsGesture/{TRIALS['train']}", f"DvsGesture/{TRIALS['train']}"]
        root = located(names, data_dir, ADVICE).parent
        learned, tested = (trials(root / TRIALS[part]) for part in ("train", "test"))
        persons = sorted({person(path) for path in learned})
        if len(persons) <= HELD:
            raise ValueError(
                f"{root / TRIALS['train']} names {len(persons)} persons; wanted more than {HELD}, of whom {HELD} are "
                "for validation: unpack DvsGesture.tar.gz again"
            )
        held = set(persons[-HELD:])
        parts = (
            [path for path in learned if person(path) not in held],
            [path for path in learned if person(path) in held],
            tested,
        )
        framing = Parts(self.steps, self.frames, self.pool)
        train, validation, test = (Trials(paths, framing) for paths in parts)
        return Dataset(train, validation, test, classes=CLASSES, sequence=True)


def person(path: Path) -> int:
    """Return the number of the person in the name of a file, `user01_fluorescent.aedat`.

    >>> person(Path("user01_fluorescent_led.aedat"))
    1
    """
    match = PERSON.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} in a list of trials; wanted names such as user01_fluorescent.aedat")
    return int(match[1])


def trials(path: Path) -> list[Path]:
    """Return the files that a list of trials names; raise ValueError for one that is not there."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: unpack DvsGesture.tar.gz again")
    found = [path.parent / line.strip() for line in path.read_text().splitlines() if line.strip()]
    missing = [one.name for one in found if not one.is_file()]
    if missing or not found:
        said = f"{', '.join(missing[:3])} and {len(missing)} in all are missing" if missing else "no file"
        raise ValueError(f"{path} names {len(found)} files, of which {said}: unpack DvsGesture.tar.gz again")
    return found


def gestures(path: Path) -> list[Gesture]:
    """Return the table of a file, `user01_fluorescent_labels.csv`; raise ValueError for anything else in it."""
    table = path.with_name(f"{path.stem}_labels.csv")
    if not table.is_file():
        raise ValueError(f"{table} is missing, which says when gestures are made: unpack DvsGesture.tar.gz again")
    head, *rows = list(csv.reader(table.read_text().splitlines())) or [[]]
    found = []
    for number, row in enumerate(rows, start=2):
        fits = len(row) == 3 and all(NUMBER.fullmatch(value.strip()) for value in row)
        label, start, end = (int(value) for value in row) if fits else (0, 0, 0)
        if not (1 <= label <= CLASSES and start < end):
            raise ValueError(
                f"{table}, line {number}: {','.join(row)!r}; wanted a class from 1 to {CLASSES}, and two times in us "
                "that rise"
            )
        found.append(Gesture(label - 1, start, end))
    if [name.strip() for name in head] != HEADER or not found:
        raise ValueError(f"{table} begins with {','.join(head)!r}; wanted {','.join(HEADER)}, and rows below")
    return found
