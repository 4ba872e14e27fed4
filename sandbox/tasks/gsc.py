"""Google Speech Commands: words of a second, spoken by thousands, in a folder of WAV files for each."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.tasks.archives import located
from sandbox.tasks.base import Dataset, Samples
from sandbox.tasks.hearing import Code, Ear, Late, Scale
from sandbox.tasks.published import require_count
from sandbox.tasks.spoken import SpokenTask
from sandbox.tasks.wav import parse_wav, resampled

WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy"),
    *("house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop"),
    *("three", "tree", "two", "up", "visual", "wow", "yes", "zero"),
)  # the classes, in this order
NAME = re.compile(rf"({'|'.join(WORDS)})/[\w-]+\.wav", re.ASCII)
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SCALED = 2048  # recordings for training, evenly spaced in the order of their names, that set the scale of channels
ADVICE = (
    "Fetch speech_commands_v0.02.tar.gz from http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz and "
    "unpack it, so that there is gsc/validation_list.txt."
)


class Heard(Samples):
    """Recordings in files, one each, which are read when they are needed.

    Args:
        root: folder of the set.
        names: of the files below it, `word/file.wav`.
        ear: makes levels or spikes of sounds.
        late: what becomes of recordings with more frames than steps.
        lengths: whether to find the number of frames of each recording, for which all files are read once.
    """

    def __init__(self, root: Path, names: list[str], ear: Ear, late: Late, lengths: bool = False) -> None:
        self.root, self.names, self.ear, self.late = root, names, ear, late
        self.y = torch.tensor([WORDS.index(name.split("/")[0]) for name in names])
        self.scale: Scale | None = None
        self.lengths = self._lengths() if lengths else None

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return levels or spikes `[n, steps, channels]` and classes of the recordings with these numbers."""
        assert self.scale is not None  # set by `load`
        names = [self.names[row] for row in rows.tolist()]
        level = self.ear.levels([self.sound(name) for name in names], names, self.late)
        return torch.from_numpy(self.ear.coded(level, self.scale)).float(), self.y[rows]

    def sound(self, name: str) -> NDArray[np.float64]:
        """Read a file, as one channel at the rate of the ear."""
        wav = parse_wav((self.root / name).read_bytes(), str(self.root / name))
        return resampled(wav.mono, wav.rate, self.ear.rate)

    def measured(self) -> Scale:
        """Return the scale of channels over some of the recordings."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(SCALED, len(self))).round().astype(int))
        names = [self.names[row] for row in chosen]
        parts = [self.ear.levels([self.sound(name)], [name], self.late) for name in names]
        return Scale.of(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def parts(self) -> Iterator[Tensor]:
        """Yield names and sizes of all files in place of their sounds, the settings, and the scale."""
        sizes = (f"{name} {(self.root / name).stat().st_size}" for name in self.names)
        yield torch.tensor(list("\n".join([*sizes, str(self.ear), self.late]).encode()), dtype=torch.uint8)
        assert self.scale is not None
        yield from (torch.from_numpy(part) for part in self.scale)
        if self.lengths is not None:
            yield self.lengths

    def _lengths(self) -> Tensor:
        found = []
        for name in self.names:
            samples = len(self.sound(name))
            self.ear.require(samples, name, self.late)
            found.append(min(self.ear.frames(samples), self.ear.steps))
        return torch.tensor(found)


@dataclass(frozen=True, kw_only=True)
class GSC(SpokenTask):
    """Google Speech Commands v0.02 as levels `[n, steps, channels]` of mel channels, or spikes: 35 words.

    Read from the unpacked archive in `gsc/` of a data folder: a folder for each word, `validation_list.txt` and
    `testing_list.txt`, whose splits are the authors', by speakers (84,843 / 9,981 / 11,005 recordings of a second at
    most). Files are read when they are needed; WAV files of other rates, widths and channels are read too. What is
    heard is that of `fsdd` (`sandbox.tasks.hearing`), with more channels: mean and deviation of each are those of 2,048
    recordings for training, evenly spaced in the order of their names. Recordings are followed by zeros; of one of a
    second, 98 frames of 25 ms fit into 100 steps. Tested with files that our tests write, not with the originals.

    Args:
        channels: number of mel channels, as many as SpikCommander has inputs.
        frame: length of a frame [ms].
        hop: distance between frames [ms], which is the time step.
        low: lower edge of the lowest channel [Hz].
        high: upper edge of the highest channel [Hz].
        steps: number of frames kept.
        floor: noise floor [dB], relative to the mean power of the recording.
        threshold: of the neurons [standard deviations x steps].
        code: "levels", the default, or "spikes".
        fft: points of the Fourier transform, a frame followed by zeros; so many that no channel lies between two.
        rate: to which recordings are resampled where they have another [Hz].
        late: "refuse", the default: a recording with more frames than steps raises; "cut": it is cut.
        lengths: whether batches say where recordings end; all files are then read once in `load`. False by default.

    Raises:
        ValueError: for options out of range; in `load`, for folders and lists with something else in them; while
            learning, for files as `sandbox.tasks.wav.parse_wav` says, those shorter than a frame, and longer ones.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    Warns: in `load`, for another number of recordings than published.

    >>> GSC(channels=40, fft=512).ear().filters().shape
    (40, 257)

    Reference: Warden 2018, arXiv 1804.03209; channels and hop as the code of SpikCommander has them, which resamples to
    8 kHz and uses the power spectrum in decibels as it is (code read, not used).
    """

    channels: int = 140
    high: float = 8000.0  # [Hz]
    steps: int = 100
    code: Code = "levels"
    fft: int = 2048
    rate: int = 16_000  # [Hz]
    late: Late = "refuse"

    def __post_init__(self) -> None:
        if not 2_000 <= self.rate <= 96_000:
            raise ValueError(f"rate={self.rate} Hz: give 2000 to 96000")
        super().__post_init__()

    def ear(self) -> Ear:
        """Return what makes levels or spikes of recordings."""
        return self.hearing(self.rate, self.fft)

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """List the recordings, and measure the scale of channels."""
        names = ("gsc", "speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02")
        root = located([f"{name}/{LISTS['validation']}" for name in names], data_dir, ADVICE).parent
        held = {part: named(root / file) for part, file in LISTS.items()}
        every, apart = listed(root), set(held["validation"]) | set(held["test"])
        missing = sorted(apart - set(every))
        if missing or set(held["validation"]) & set(held["test"]):
            said = f"{len(missing)} are missing, such as {missing[0]}" if missing else "some are in both"
            raise ValueError(f"of the recordings in the lists of {root}, {said}: unpack the archive again")
        parts = {"train": [name for name in every if name not in apart], **held}
        for part, found in parts.items():
            require_count("gsc", part, len(found), root)
        splits = [Heard(root, parts[part], self.ear(), self.late, self.lengths) for part in parts]
        train, validation, test = splits
        for split in splits:
            split.scale = train.scale or train.measured()
        return Dataset(train, validation, test, classes=len(WORDS), sequence=True)


def named(path: Path) -> list[str]:
    """Return the recordings in a list, in the order of their names; raise ValueError for anything else in it."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: unpack the archive again")
    lines = [
        line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()
    ]
    odd = next((line for line in lines if not NAME.fullmatch(line)), None)
    if odd is not None or not lines:
        found = "no line" if odd is None else repr(odd[:80])
        raise ValueError(
            f"{path} has {found}; wanted lines such as yes/0a7c2a8d_nohash_0.wav: unpack the archive again"
        )
    return sorted(set(lines))


def listed(root: Path) -> list[str]:
    """Return the recordings of all words, in the order of their names; raise ValueError for a word without any."""
    found = []
    for word in WORDS:
        folder = root / word
        names = [f"{word}/{entry.name}" for entry in os.scandir(folder)] if folder.is_dir() else []
        names = [name for name in names if NAME.fullmatch(name)]
        if not names:
            raise ValueError(
                f"{folder} has no recordings; wanted some for each of {len(WORDS)} words: unpack the archive"
            )
        found += names
    return sorted(found)
