"""Spoken digits as spikes: six speakers, each digit fifty times, through mel filters and integrate-and-fire neurons."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from sandbox.tasks.archives import contents, located
from sandbox.tasks.base import Dataset
from sandbox.tasks.files import MOST, card_folder
from sandbox.tasks.hearing import heard
from sandbox.tasks.spoken import SpokenTask
from sandbox.tasks.wav import parse_wav

RATE = SpokenTask.sampled  # [Hz] of all recordings
NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
ADVICE = (
    "Fetch v1.0.10.tar.gz from https://github.com/Jakobovski/free-spoken-digit-dataset/tags and name it fsdd.tar.gz, "
    "or unpack its folder of recordings."
)


class Recording(NamedTuple):
    """One spoken digit."""

    digit: int
    speaker: str
    take: int
    sound: NDArray[np.float64]  # [samples] in -1..1


TRAIN, VALIDATION, TEST = range(3)
SPEAKERS = {"theo": VALIDATION, "yweweler": TEST}
SPLITS: dict[str, Callable[[Recording], int]] = {
    "official": lambda recording: TEST if recording.take < 5 else VALIDATION if recording.take < 10 else TRAIN,
    "speakers": lambda recording: SPEAKERS.get(recording.speaker, TRAIN),
}


def read_recordings(path: Path, sha256: str | None = None, most: int = MOST) -> list[Recording]:
    """Read the recordings in a tar archive or a folder, in the order of their names.

    `sha256` is the checksum over name, zero byte and content of each, `most` the number of bytes to which an archive
    may unpack. Raises ValueError if it differs, and for a
    recording in another format.
    """
    files = sorted(contents(path, NAME, most).items())
    digest = hashlib.sha256(b"".join(name.encode() + b"\0" + content for name, content in files)).hexdigest()
    if sha256 not in (None, digest):
        raise ValueError(
            f"{path} holds {len(files)} recordings that are not the 3000 of release 1.0.10: expected "
            f"SHA-256 {sha256}, found {digest}; remove it and fetch it again"
        )
    return [parse_recording(name, content) for name, content in files]


def parse_recording(name: str, content: bytes) -> Recording:
    """Parse a WAV file named `{digit}_{speaker}_{index}.wav`; raise ValueError unless it is mono, 16 bits, 8 kHz."""
    digit, speaker, take = name.removesuffix(".wav").split("_")
    wav = parse_wav(content, name)
    found = wav.sound.shape[1], wav.bits, wav.rate
    if found != (1, 16, RATE):
        raise ValueError(
            f"{name} has {found[0]} channels of {found[1]} bits at {found[2]} Hz; wanted 1 of 16 bits "
            f"at {RATE} Hz: fetch it again"
        )
    return Recording(int(digit), speaker, int(take), wav.mono)


@dataclass(frozen=True, kw_only=True)
class FSDD(SpokenTask):
    """The Free Spoken Digit Dataset as spikes `[n, steps, channels]` of 0 and 1, a step every `hop`; or as levels.

    Each recording is scaled to the same loudness, because some speakers were recorded 20 dB below others, and cut into
    frames. Their energy in mel channels, in decibels above a floor, is standardised in each channel with the mean and
    standard deviation of the training frames. The part above the mean drives an integrate-and-fire neuron
    (`sandbox.tasks.mel`). Shorter recordings are followed by silence without spikes; longer ones are cut. The spikes
    are deterministic. With the defaults, a channel fires in about one step of eight. With `code="levels"` the steps are
    the frames themselves: the standardised levels of the channels, and zeros behind a recording.

    Many recordings are over by the middle: a linear model of the last 32 of 64 steps is right in 30 % of the recordings
    for testing, and of all steps in 92 %.

    Args:
        split: "official", the default: index 0-4 for test, 5-9 for validation, 10-49 for training (300 / 300 / 2,400
            recordings), all six speakers in each. "speakers": george, jackson, lucas and nicolas for training, theo
            for validation, yweweler for test (2,000 / 500 / 500), so voices are new.
        channels: number of mel channels.
        frame: length of a frame [ms].
        hop: distance between frames [ms], which is the time step of the spikes.
        low: lower edge of the lowest channel [Hz].
        high: upper edge of the highest channel [Hz].
        steps: number of frames kept.
        floor: noise floor [dB], relative to the mean power of the recording.
        threshold: of the neurons [standard deviations x steps].
        code: "spikes", the default, or "levels".
        lengths: whether batches say how many steps of a recording are frames of it, so that silence behind its end does
            not count; False by default.

    Raises:
        ValueError: for options out of range; in `load`, for recordings that are not those of release 1.0.10.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    >>> FSDD(split="speakers").hop
    10.0

    Reference: Jackson et al. 2018, doi 10.5281/zenodo.1342401.
    """

    split: str = "official"

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}: give one of {', '.join(map(repr, SPLITS))}")
        super().__post_init__()

    @property
    def exchangeable(self) -> bool:
        """Whether validation may take recordings for training: not where the voices of validation are new ones."""
        return self.split == "official"

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read `fsdd/fsdd.tar.gz`, not unpacked, or `fsdd/recordings/` in a data folder."""
        path = located(["fsdd/fsdd.tar.gz", "fsdd/recordings"], data_dir, ADVICE)
        card = yaml.safe_load((card_folder("fsdd") / "card.yaml").read_text())
        return self.dataset(read_recordings(path, card["recordings"], card["unpacked"]))

    def dataset(self, recordings: Sequence[Recording]) -> Dataset:
        """Encode recordings as spikes, and split them."""
        part = np.array([SPLITS[self.split](recording) for recording in recordings])
        y = torch.tensor([recording.digit for recording in recordings])
        names = [f"{recording.digit}_{recording.speaker}_{recording.take}.wav" for recording in recordings]
        return heard(self.ear(), [recording.sound for recording in recordings], names, y, part, self.lengths)
