"""The base class of tasks of spoken words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rules.fields import check_fields
from sandbox.tasks.base import Task
from sandbox.tasks.hearing import Code, Ear


@dataclass(frozen=True, kw_only=True)
class SpokenTask(Task):
    """Base class of tasks of spoken words, `[n, steps, channels]`: how they are heard, that of `sandbox.tasks.hearing`.

    Args:
        channels: number of mel channels.
        frame: length of a frame [ms].
        hop: distance between frames [ms], which is the time step.
        low: lower edge of the lowest channel [Hz].
        high: upper edge of the highest channel [Hz].
        steps: number of frames kept.
        floor: noise floor [dB], relative to the mean power of a word.
        threshold: of the neurons [standard deviations x steps].
        code: "spikes", the default, or "levels".
        lengths: whether batches say where words end, so that silence behind does not count; False by default.

    Raises:
        ValueError: for options out of range.
    """

    channels: int = 40
    frame: float = 25.0  # [ms]
    hop: float = 10.0  # [ms]
    low: float = 50.0  # [Hz]
    high: float = 4000.0  # [Hz]
    steps: int = 64
    floor: float = -50.0  # [dB]
    threshold: float = 2.0  # [standard deviations x steps]
    code: Code = "spikes"
    lengths: bool = False

    sampled: ClassVar[int] = 8000  # [Hz], the rate of the sounds
    imports: ClassVar[tuple[str, ...]] = ("scipy.signal",)

    def __post_init__(self) -> None:
        check_fields(self)
        self.ear()  # raises for options out of range

    @property
    def memory(self) -> int:
        """All time steps, at most: a word is over before, and silence follows in which the answer is asked."""
        return self.steps

    @property
    def exchangeable(self) -> bool:
        """False: validation words are of voices that are not heard in training."""
        return False

    def ear(self) -> Ear:
        """Return what makes spikes or levels of words."""
        return self.hearing(self.sampled)

    def hearing(self, rate: int, fft: int | None = None) -> Ear:
        """Return an ear for sounds of a rate [Hz], with so many points of the Fourier transform."""
        settings = (self.channels, self.frame, self.hop, self.low, self.high, self.steps, self.floor, self.threshold)
        return Ear(rate, *settings, self.code, fft)
