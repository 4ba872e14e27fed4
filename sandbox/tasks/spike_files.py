"""Recordings in the HDF5 files of the Heidelberg sets: a time and a channel for each spike, counted in steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rules.fields import check_fields
from rules.steps import SLACK
from sandbox.cameras.events import whole
from sandbox.cameras.need import module
from sandbox.cameras.reading import PACKED
from sandbox.tasks.base import Samples, at_least_one
from sandbox.tasks.encode import MOST_STEPS
from sandbox.tasks.hearing import Late

CHANNELS = 700  # of the cochlea
ARRAYS = ("spikes/times", "spikes/units", "labels")


class Spikes(NamedTuple):
    """The spikes of one recording, in any order."""

    time: NDArray[np.float64]  # [spikes] s
    unit: NDArray[np.int64]  # [spikes] from 0 to below CHANNELS


@dataclass(frozen=True)
class Bins:
    """Counts of spikes in steps of equal length and in groups of neighbouring channels.

        x[k, c] = number of spikes with k duration <= t < (k + 1) duration and c group <= unit < (c + 1) group

    A time at most 0.001 steps short of a step belongs to it, as everywhere here. The end of the last step belongs to it
    too: times in half precision, of recordings of a second, are rounded to 1.

    Args:
        steps: number of steps.
        duration: of a step [ms].
        group: channels that are added up; it divides 700.
        late: what becomes of spikes behind the last step: "refuse" raises ValueError, "cut" leaves them out.

    Raises:
        ValueError: for options out of range.

    >>> Bins(steps=2, duration=10.0, group=350)(Spikes(np.array([0.012, 0.003]), np.array([0, 699])), "two").tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """

    steps: int
    duration: float  # [ms]
    group: int = 5
    late: Late = "refuse"

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(steps=self.steps)
        if self.steps > MOST_STEPS:
            raise ValueError(f"steps={self.steps}: give at most {MOST_STEPS}")
        if not 0.01 <= self.duration <= 10_000:
            raise ValueError(f"duration={self.duration} ms: give the length of a step, from 0.01 to 10000 ms")
        if self.group < 1 or CHANNELS % self.group:
            fits = ", ".join(str(number) for number in range(1, CHANNELS + 1) if CHANNELS % number == 0)
            raise ValueError(f"bin_channels={self.group}: give a number that divides {CHANNELS}, one of {fits}")

    def __call__(self, spikes: Spikes, name: str) -> NDArray[np.float32]:
        """Return counts `[steps, 700 / group]`; `name` of the recording is for messages."""
        step, unit = self._step(spikes, name), spikes.unit
        kept = step < self.steps
        width = CHANNELS // self.group
        place = step[kept] * width + unit[kept] // self.group
        counts = np.bincount(place, minlength=self.steps * width)
        return counts.reshape(self.steps, width).astype(np.float32)

    def length(self, spikes: Spikes, name: str) -> int:
        """Return the number of steps up to the last spike that is counted."""
        return min(int(self._step(spikes, name).max()) + 1, self.steps)

    def _step(self, spikes: Spikes, name: str) -> NDArray[np.int64]:
        """Return the step of each spike; raise ValueError where none or, unless they are cut, not all are counted."""
        exact = 1000 * spikes.time / self.duration
        step = np.floor(exact + SLACK).astype(np.int64)
        step[(step == self.steps) & (exact <= self.steps)] = self.steps - 1
        late = int((step >= self.steps).sum())
        said = f"{self.steps} steps of {self.duration:g} ms"
        if late == len(step):
            found = f"all of its {late} spikes behind {said}" if late else "no spikes"
            raise ValueError(f"{name} has {found}, so that all of its steps would be padding: leave it out")
        if late and self.late == "refuse":
            raise ValueError(
                f"{name} has {late} of {len(step)} spikes behind {said}, the last one at {1000 * spikes.time.max():g} "
                f"ms: give steps={int(step.max()) + 1}, or late='cut' to leave them out"
            )
        return step


class Spoken(Samples):
    """Recordings of a file, which are read when they are needed.

    Args:
        path: of the file.
        rows: numbers of the recordings, `[n]` int64.
        y: their classes, `[n]` int64.
        bins: counts spikes.
        lengths: whether to find the last step of each recording, for which the file is read once.
    """

    def __init__(self, path: Path, rows: Tensor, y: Tensor, bins: Bins, lengths: bool = False) -> None:
        self.path, self.rows, self.y, self.bins = path, rows, y, bins
        self.lengths = self._lengths() if lengths else None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return counts `[n, steps, 700 / group]` and classes of the recordings with these numbers."""
        counts = [self.bins(spikes, name) for spikes, name in self._read(rows)]
        return torch.from_numpy(np.stack(counts)), self.y[rows]

    def parts(self) -> Iterator[Tensor]:
        """Yield name and size of the file in place of its spikes, the settings, rows and classes."""
        said = f"{self.path.name} {self.path.stat().st_size}\n{self.bins}"
        yield torch.tensor(list(said.encode()), dtype=torch.uint8)
        yield from (part for part in (self.rows, self.y, self.lengths) if part is not None)

    def _read(self, rows: Tensor) -> Iterator[tuple[Spikes, str]]:
        """Yield the spikes of recordings, and what to call each."""
        with opened(self.path) as file:
            for row in self.rows[rows].tolist():
                name = f"recording {row} of {self.path}"
                yield spikes_of(file, row, name), name

    def _lengths(self) -> Tensor:
        every = torch.arange(len(self))
        return torch.tensor([self.bins.length(spikes, name) for spikes, name in self._read(every)])


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an HDF5 file; raise ValueError, with its name, if that fails, and ImportError without the package h5py."""
    h5py = module("h5py", "HDF5", "speech")
    with open(path, "rb") as start:
        begin = start.read(8)
    packed = next((how for magic, how in PACKED.items() if begin.startswith(magic)), None)
    if packed is not None:
        raise ValueError(f"{path} is compressed by {packed[0]}: decompress it first, by {packed[1]}")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError) as error:  # of h5py, for files that are damaged
        raise ValueError(f"{path} cannot be read ({error}): it is truncated or damaged; fetch it again") from error


def tabled(path: Path, classes: int, speakers: bool) -> tuple[Tensor, NDArray[np.int64] | None]:
    """Return the classes of all recordings in a file, `[n]` int64, and on demand the number of each one's speaker.

    Raises:
        ValueError: with the name of the file, for arrays that are missing or of different length, and classes or
            speakers that are no whole numbers, or out of range.
    """
    wanted = [*ARRAYS, *(["extra/speaker"] if speakers else [])]
    with opened(path) as file:
        names = _arrays(file)
        missing = [name for name in wanted if name not in names]
        if missing:
            raise ValueError(
                f"{path} has {', '.join(names) or 'no arrays'}; wanted {', '.join(wanted)}, and {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing: it is a different file"
            )
        sizes = {name: file[name].shape for name in wanted}
        if len({shape[:1] for shape in sizes.values()}) > 1 or any(len(sizes[name]) != 1 for name in wanted[2:]):
            said = ", ".join(f"{name} {list(shape)}" for name, shape in sizes.items())
            raise ValueError(f"{path} has {said}; wanted one entry in each for every recording: it is damaged")
        if not sizes["labels"][0]:
            raise ValueError(f"{path} has no recordings: fetch it again")
        labels = whole(file["labels"][()], "label", str(path))
        who = whole(file["extra/speaker"][()], "speaker", str(path)) if speakers else None
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"{path} has labels from {labels.min()} to {labels.max()}; wanted 0 to {classes - 1}: it is another set"
        )
    return torch.from_numpy(labels), who


def spikes_of(file: Any, row: int, name: str) -> Spikes:
    """Return the spikes of one recording, checked; they need no order.

    Raises:
        ValueError: with the name of the recording, for as many times as channels not given, times below 0 or without
            end, and channels that are none of the 700.
    """
    time, unit = (np.asarray(file[key][row]) for key in ARRAYS[:2])
    if time.ndim != 1 or time.shape != unit.shape:
        raise ValueError(f"{name} has times {list(time.shape)} and units {list(unit.shape)}; wanted one of each, [n]")
    if time.dtype.kind not in "fiu":
        raise ValueError(f"{name} has times of type {time.dtype}; wanted seconds")
    time, unit = time.astype(np.float64), whole(unit, "unit", name)
    if not (np.isfinite(time) & (time >= 0)).all():
        odd = time[~(np.isfinite(time) & (time >= 0))][0]
        raise ValueError(f"{name} has a spike at {odd:g} s; wanted finite seconds of at least 0")
    if len(unit) and (unit.min() < 0 or unit.max() >= CHANNELS):
        raise ValueError(
            f"{name} has units from {unit.min()} to {unit.max()}; wanted channels of the cochlea, 0 to {CHANNELS - 1}"
        )
    return Spikes(time, unit)


def _arrays(file: Any) -> list[str]:
    """Return the names of all arrays in a file."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "dtype") else None)
    return found
