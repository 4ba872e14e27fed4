"""Spoken digits as spikes: six speakers, each digit fifty times, through mel filters and integrate-and-fire neurons."""

from __future__ import annotations

import hashlib
import io
import math
import re
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from rules.fields import check_fields
from sandbox.tasks.archives import contents, located
from sandbox.tasks.base import Dataset, Split, Task, at_least_one
from sandbox.tasks.files import MOST, card_folder
from sandbox.tasks.mel import integrate_and_fire, mel_energy, mel_filters

RATE = 8000  # [Hz] of all recordings
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
    try:
        with wave.open(io.BytesIO(content)) as file:
            found = file.getnchannels(), file.getsampwidth(), file.getframerate()
            announced, samples = file.getnframes(), file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{name} is not a WAV file ({error}): fetch it again") from error
    if found != (1, 2, RATE):
        raise ValueError(
            f"{name} has {found[0]} channels of {8 * found[1]} bits at {found[2]} Hz; wanted 1 of 16 bits "
            f"at {RATE} Hz: fetch it again"
        )
    if len(samples) != 2 * announced:
        raise ValueError(f"{name} announces {announced} samples and holds {len(samples) // 2}: fetch it again")
    return Recording(int(digit), speaker, int(take), np.frombuffer(samples, "<i2") / 2**15)


@dataclass(frozen=True)
class FSDD(Task):
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

    Raises:
        ValueError: for options out of range; in `load`, for recordings that are not those of release 1.0.10.
        FileNotFoundError: in `load`, if there are no files; explains what to put where.

    >>> FSDD(split="speakers").hop
    10.0

    Reference: Jackson et al. 2018, doi 10.5281/zenodo.1342401.
    """

    split: str = "official"
    channels: int = 40
    frame: float = 25.0  # [ms]
    hop: float = 10.0  # [ms]
    low: float = 50.0  # [Hz]
    high: float = 4000.0  # [Hz]
    steps: int = 64
    floor: float = -50.0  # [dB]
    threshold: float = 2.0  # [standard deviations x steps]
    code: Literal["spikes", "levels"] = "spikes"

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(channels=self.channels, steps=self.steps)
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}: give one of {', '.join(map(repr, SPLITS))}")
        for name in ("frame", "hop"):
            if not 1 <= getattr(self, name) <= 100:  # the shortest recording lasts 143 ms
                raise ValueError(f"{name}={getattr(self, name)} ms: give 1 to 100 ms")
        if not 0 <= self.low < self.high <= RATE / 2:
            raise ValueError(
                f"low={self.low} Hz, high={self.high} Hz: give 0 <= low < high <= {RATE // 2}; the "
                f"recordings have {RATE} samples a second"
            )
        if not math.isfinite(self.floor):
            raise ValueError(f"floor={self.floor} dB: give a number, such as -50")
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold={self.threshold} standard deviations x steps: give a number above 0")
        self.filters()  # raises for channels that are too narrow

    @property
    def memory(self) -> int:
        """All time steps, at most: a recording is over before, and silence follows in which the answer is asked."""
        return self.steps

    @property
    def exchangeable(self) -> bool:
        """Whether validation may take recordings for training: not where the voices of validation are new ones."""
        return self.split == "official"

    def filters(self) -> NDArray[np.float64]:
        """Return the filter bank, for frames padded to the next power of two, `[channels, frequencies]`."""
        fft = 2 ** math.ceil(math.log2(self.samples(self.frame)))
        return mel_filters(self.channels, fft, RATE, self.low, self.high)

    @staticmethod
    def samples(time: float) -> int:
        """Return the number of samples in a time [ms]."""
        return round(time * RATE / 1000)

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read `fsdd/fsdd.tar.gz`, not unpacked, or `fsdd/recordings/` in a data folder."""
        path = located(["fsdd/fsdd.tar.gz", "fsdd/recordings"], data_dir, ADVICE)
        card = yaml.safe_load((card_folder("fsdd") / "card.yaml").read_text())
        return self.dataset(read_recordings(path, card["recordings"], card["unpacked"]))

    def dataset(self, recordings: Sequence[Recording]) -> Dataset:
        """Encode recordings as spikes, and split them."""
        frame, hop = self.samples(self.frame), self.samples(self.hop)
        sounds = [as_loud(recording.sound) for recording in recordings]
        energy, sounding = mel_energy(sounds, self.filters(), frame, hop, self.steps)
        part = np.array([SPLITS[self.split](recording) for recording in recordings])
        level = standardised(10 * np.log10(energy + 10 ** (self.floor / 10)), sounding & (part == TRAIN)[:, None])
        heard = np.where(sounding[..., None], level, 0)
        coded = heard if self.code == "levels" else integrate_and_fire(heard, self.threshold)
        x, y = torch.from_numpy(coded).float(), torch.tensor([recording.digit for recording in recordings])
        chosen = (torch.from_numpy(part == which) for which in (TRAIN, VALIDATION, TEST))
        train, validation, test = (Split(x[which], y[which]) for which in chosen)
        return Dataset(train, validation, test, classes=10, sequence=True)


def as_loud(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a sound to mean power 1; a sound below the last bit stays silent."""
    amplitude = float(np.sqrt(np.mean(sound**2)))
    return sound / max(amplitude, 2.0**-15)


def standardised(level: NDArray[np.float64], heard: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standardise levels `[n, steps, channels]` to mean 0 and deviation 1 in each channel.

    Mean and deviation are those of the frames marked in `heard`, `[n, steps]`. A channel that never changes becomes
    zero.
    """
    known = level[heard]  # [frames, channels]
    spread = known.std(0)
    score: NDArray[np.float64] = (level - known.mean(0)) / np.where(spread > 0, spread, 1)
    return score
