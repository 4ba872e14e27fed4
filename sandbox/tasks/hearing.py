"""How tasks of speech hear: sounds of one rate become levels of mel channels, or spikes, a step every few ms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Split, at_least_one
from sandbox.tasks.mel import Energy, integrate_and_fire, mel_energy, mel_filters
from sandbox.tasks.wav import require_finite

Floats = NDArray[np.float64]
Code: TypeAlias = Literal["spikes", "levels"]
Late: TypeAlias = Literal["refuse", "cut"]
OFFSET = 0.5  # of the root of the mean power of a sound, from which its mean is taken out


class Scale(NamedTuple):
    """Mean and deviation of each channel over what was heard; a deviation of 1 for a channel that never changes."""

    mean: Floats  # [channels]
    spread: Floats  # [channels]

    @classmethod
    def of(cls, level: Floats, heard: NDArray[np.bool_]) -> Scale:
        """Return the scale of levels `[n, steps, channels]` in the frames marked in `heard`, `[n, steps]`."""
        known = level[heard]  # [frames, channels]
        spread = known.std(0)
        return cls(known.mean(0), np.where(spread > 0, spread, 1))

    def score(self, level: Floats) -> Floats:
        """Return levels in deviations from the mean."""
        found: Floats = (level - self.mean) / self.spread
        return found


@dataclass(frozen=True)
class Ear:
    """A mel filter bank, and a neuron for each channel.

    Each sound is scaled to the same loudness and cut into frames, whose energy in mel channels is taken in decibels
    above a floor (`levels`), standardised, and read as it is or as spikes of integrate-and-fire neurons (`coded`).
    Steps behind the end of a sound are zeros. A mean above half of the root of the mean power, as a microphone with an
    offset leaves it, is taken out before; a smaller one, which makes a sound quieter by at most 1.25 dB, stays in it.

    Args:
        rate: of all sounds [Hz].
        channels: number of mel channels.
        frame: length of a frame [ms].
        hop: distance between frames [ms], a time step.
        low: lower edge of the lowest channel [Hz].
        high: upper edge of the highest channel [Hz].
        steps: number of frames kept.
        floor: noise floor [dB], relative to the mean power of a sound.
        threshold: of the neurons [standard deviations x steps].
        code: "spikes" or "levels".
        fft: points of the Fourier transform, a frame followed by zeros; None for the next power of two.

    Raises:
        ValueError: for options out of range, and channels without any Fourier frequency.

    >>> int(Ear(rate=8000, steps=100).levels([np.ones(4000)], ["step.wav"]).sounding.sum())
    48
    """

    rate: int
    channels: int = 40
    frame: float = 25.0  # [ms]
    hop: float = 10.0  # [ms]
    low: float = 50.0  # [Hz]
    high: float = 4000.0  # [Hz]
    steps: int = 64
    floor: float = -50.0  # [dB]
    threshold: float = 2.0  # [standard deviations x steps]
    code: Code = "spikes"
    fft: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(channels=self.channels, steps=self.steps)
        for name in ("frame", "hop"):
            if not 1 <= getattr(self, name) <= 100:
                raise ValueError(f"{name}={getattr(self, name)} ms: give 1 to 100 ms")
        if not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"low={self.low} Hz, high={self.high} Hz: give 0 <= low < high <= {self.rate // 2}; the "
                f"recordings have {self.rate} samples a second"
            )
        if not math.isfinite(self.floor):
            raise ValueError(f"floor={self.floor} dB: give a number, such as -50")
        if not 0 < self.threshold < math.inf:
            raise ValueError(f"threshold={self.threshold} standard deviations x steps: give a number above 0")
        if self.fft is not None and not self.samples(self.frame) <= self.fft <= 2**16:
            raise ValueError(
                f"fft={self.fft}: give from {self.samples(self.frame)} points, those of a frame, to {2**16}"
            )
        self.filters()  # raises for channels that are too narrow

    def filters(self) -> Floats:
        """Return the filter bank, `[channels, frequencies]`."""
        fft = self.fft or 2 ** math.ceil(math.log2(self.samples(self.frame)))
        return mel_filters(self.channels, fft, self.rate, self.low, self.high)

    def samples(self, time: float) -> int:
        """Return the number of samples in a time [ms]."""
        return round(time * self.rate / 1000)

    def frames(self, samples: int) -> int:
        """Return the number of whole frames in a sound, of which `steps` are kept; 0 for one shorter than a frame."""
        return max(0, 1 + (samples - self.samples(self.frame)) // self.samples(self.hop))

    def require(self, samples: int, name: str, late: Late = "cut") -> None:
        """Raise ValueError for a sound without a whole frame, which would be padding alone.

        With `late="refuse"` also for a sound with more frames than steps.
        """
        found = self.frames(samples)
        if not found:
            raise ValueError(
                f"{name} has {samples} samples at {self.rate} Hz, {1000 * samples / self.rate:g} ms; wanted a frame of "
                f"{self.frame:g} ms at least, because all of its steps would be padding: leave it out, or give a "
                "shorter frame"
            )
        if found > self.steps and late == "refuse":
            raise ValueError(
                f"{name} lasts {1000 * samples / self.rate:g} ms, {found} frames of {self.hop:g} ms; wanted at most "
                f"steps={self.steps}: give steps={found}, or late='cut' to leave out what comes later"
            )

    def levels(self, sounds: Sequence[Floats], names: Sequence[str], late: Late = "cut") -> Energy:
        """Return the levels of sounds `[samples]` in decibels, `[n, steps, channels]`, and which frames are in them.

        Raises ValueError, with its name, for a sound as `require` says, and for one with values beyond `LOUDEST`.
        """
        for sound, name in zip(sounds, names, strict=True):
            self.require(len(sound), name, late)
            require_finite(sound, name)
        frame, hop = self.samples(self.frame), self.samples(self.hop)
        energy, sounding = mel_energy([as_loud(sound) for sound in sounds], self.filters(), frame, hop, self.steps)
        return Energy(10 * np.log10(energy + 10 ** (self.floor / 10)), sounding)

    def coded(self, level: Energy, scale: Scale) -> Floats:
        """Return levels in deviations from the mean, or spikes, `[n, steps, channels]`, zeros behind the end."""
        heard = np.where(level.sounding[..., None], scale.score(level.value), 0)
        return heard if self.code == "levels" else integrate_and_fire(heard, self.threshold)


def heard(
    ear: Ear, sounds: Sequence[Floats], names: Sequence[str], y: Tensor, part: NDArray[np.int64], lengths: bool
) -> Dataset:
    """Return sounds as ten classes in three splits; those of part 0, for training, set the scale of channels.

    Args:
        ear: makes spikes or levels.
        sounds: `[samples]` each.
        names: of the sounds, for messages.
        y: their classes, `[n]`.
        part: to which each belongs, `[n]`: 0 training, 1 validation, 2 test.
        lengths: whether splits say how many steps of each sound are frames of it.
    """
    level = ear.levels(sounds, names)
    coded = ear.coded(level, Scale.of(level.value, level.sounding & (part == 0)[:, None]))
    x, ends = torch.from_numpy(coded).float(), torch.from_numpy(level.sounding.sum(1))
    chosen = (torch.from_numpy(part == which) for which in range(3))
    train, validation, test = (Split(x[rows], y[rows], ends[rows] if lengths else None) for rows in chosen)
    return Dataset(train, validation, test, classes=10, sequence=True)


def as_loud(sound: Floats) -> Floats:
    """Scale a sound to mean power 1, without its mean where that is large; a sound below the last bit stays silent.

    >>> as_loud(np.array([7.0, 9.0])), as_loud(np.array([2.0, -1.0])).round(2)
    (array([-1.,  1.]), array([ 1.26, -0.63]))
    """
    if abs(sound.mean()) > OFFSET * amplitude(sound):
        sound = sound - sound.mean()
    return sound / max(amplitude(sound), 2.0**-15)


def amplitude(sound: Floats) -> float:
    """Return the root of the mean power of a sound."""
    return float(np.sqrt(np.mean(sound**2)))
