"""The Heidelberg sets of spoken words as spikes of a cochlea: digits of twelve speakers, and words of thousands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from rules.fields import check_fields
from sandbox.tasks.archives import located
from sandbox.tasks.base import Dataset, Task
from sandbox.tasks.hearing import Late
from sandbox.tasks.published import require_count
from sandbox.tasks.spike_files import Bins, Spoken, tabled

HELD = 2  # speakers of the training file, of the largest numbers, who validate in SHD
SITES = "https://zenkelab.org/datasets/ or https://compneuro.net/datasets/"


@dataclass(frozen=True)
class _Heidelberg(Task):
    """Options of both tasks."""

    steps: int = 100
    duration: float = 10.0  # [ms]
    bin_channels: int = 5
    late: Late = "refuse"
    lengths: bool = False

    set: ClassVar[str]
    classes: ClassVar[int]

    def __post_init__(self) -> None:
        check_fields(self)
        self.bins()  # raises for options out of range

    @property
    def exchangeable(self) -> bool:
        """False: validation recordings are of speakers who are not heard in training."""
        return False

    @property
    def memory(self) -> int:
        """All time steps, at most: a word is over before, and silence follows in which the answer is asked."""
        return self.steps

    def bins(self) -> Bins:
        """Return what counts spikes."""
        return Bins(self.steps, self.duration, self.bin_channels, self.late)

    def file(self, part: str, data_dir: Path | str | None) -> Path:
        """Return the file of a part in the data folders; packed ones are found too, and refused when they are read."""
        name = f"{self.set}_{part}.h5"
        folders = (self.set, self.set.upper(), "hdspikes")
        advice = f"Fetch {name}.gz from {SITES}, and decompress it by gunzip."
        return located([f"{folder}/{name}{packed}" for packed in ("", ".gz") for folder in folders], data_dir, advice)

    def whole(self, path: Path, part: str) -> Spoken:
        """Return all recordings of a file."""
        y, _ = tabled(path, self.classes, speakers=False)
        require_count(self.set, part, len(y), path)
        return Spoken(path, torch.arange(len(y)), y, self.bins(), self.lengths)


@dataclass(frozen=True)
class SHD(_Heidelberg):
    """Spiking Heidelberg Digits: counts of spikes `[n, steps, 700 / bin_channels]`, 20 classes, German and English.

    Recordings of digits went through a model of the cochlea and of hair cells, of 700 channels. They are read when they
    are needed, by the package h5py, from `shd_train.h5` and `shd_test.h5` in `shd/` of a data folder, each with
    `spikes/times` (s) and `spikes/units` of every recording, `labels`, and `extra/speaker`. The test file is the
    authors': two of twelve speakers are in it alone. They name no validation set: here the two speakers of the training
    file with the largest numbers validate, and are not trained on. Tested with files that our tests write, not with the
    originals.

    Args:
        steps: number of time steps; with a step of 10 ms the longest recordings want about 140.
        duration: of a step [ms].
        bin_channels: neighbouring channels that are added up; 5, the default, makes 140 inputs.
        late: "refuse", the default: a recording with spikes behind the last step raises; "cut": those are left out.
        lengths: whether batches say where recordings end, after the step of the last spike; the files are then read
            once in `load`. False by default: silence behind a recording counts.

    Raises:
        ValueError: for options out of range; in `load`, for files without the expected arrays, with labels out of
            range, or of too few speakers; while learning, for recordings without spikes, with channels or times that
            cannot be, or longer than all steps.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.
        ImportError: in `load`, without the package h5py.

    Warns: in `load`, for another number of recordings than published.

    >>> SHD(duration=20.0, steps=70).memory
    70

    Reference: Cramer, Stradmann, Schemmel & Zenke 2022, doi 10.1109/TNNLS.2020.3044364; arrays as the authors' page and
    Tonic name them (code read, not used).
    """

    steps: int = 140

    set: ClassVar[str] = "shd"
    classes: ClassVar[int] = 20

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the classes and speakers of both files."""
        path = self.file("train", data_dir)
        test = self.whole(self.file("test", data_dir), "test")
        y, who = tabled(path, self.classes, speakers=True)
        require_count(self.set, "train", len(y), path)
        assert who is not None  # because speakers were asked for
        speakers = np.unique(who)
        if len(speakers) <= HELD:
            raise ValueError(
                f"{path} has {len(speakers)} speakers; wanted more than {HELD}, of whom {HELD} are for validation: it "
                "is a different file"
            )
        held = torch.from_numpy(np.isin(who, speakers[-HELD:]))
        train, validation = (
            Spoken(path, rows, y[rows], self.bins(), self.lengths)
            for rows in ((~held).nonzero().flatten(), held.nonzero().flatten())
        )
        return Dataset(train, validation, test, self.classes, sequence=True)


@dataclass(frozen=True)
class SSC(_Heidelberg):
    """Spiking Speech Commands: counts of spikes `[n, steps, 700 / bin_channels]`, 35 words, 75,466 / 9,981 / 20,382.

    The recordings of Speech Commands v0.02 through the cochlea of `SHD`, in files of the same kind: `ssc_train.h5`,
    `ssc_valid.h5` and `ssc_test.h5` in `ssc/` of a data folder, whose splits are the authors', by speakers. Tested with
    files that our tests write, not with the originals.

    Args:
        steps: number of time steps.
        duration: of a step [ms]; with the defaults, a second.
        bin_channels: neighbouring channels that are added up; 5, the default, makes 140 inputs.
        late: "refuse", the default: a recording with spikes behind the last step raises; "cut": those are left out.
        lengths: as in `SHD`.

    Raises:
        ValueError, FileNotFoundError, ImportError: as in `SHD`.

    Warns: in `load`, for another number of recordings than published.

    >>> SSC(bin_channels=10).bins().group
    10

    Reference: that of `SHD`.
    """

    set: ClassVar[str] = "ssc"
    classes: ClassVar[int] = 35

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the classes of three files."""
        parts = (("train", "train"), ("valid", "validation"), ("test", "test"))
        train, validation, test = (self.whole(self.file(file, data_dir), part) for file, part in parts)
        return Dataset(train, validation, test, self.classes, sequence=True)
