"""Simulated EEG of somebody who listens to one of two talkers: which side is attended?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sandbox.tasks.attention_sources import Sources, sources
from sandbox.tasks.base import Dataset, at_least_one
from sandbox.tasks.eeg import RATE, EEGTask, Trial


@dataclass(frozen=True)
class AttentionEEG(EEGTask):
    """Attention to the left or the right talker from 64 electrodes, simulated: nobody's EEG, and no recorded speech.

    In each trial two envelopes, noise with a power of 1 / f from 0.5 to 8 Hz, pass through a response with peaks at 50,
    100 and 190 ms, which electrodes above the ear on the other side see best; that of the ignored talker is weaker.
    Alpha, 8 to 13 Hz, at the back of the head is stronger on the attended side. There is noise with a power of 1 / f,
    alike in neighbouring electrodes (`sandbox.tasks.attention_sources`). Splits are made of whole trials, half of which
    have the talker on the left. By default alpha is outside of the band of the spatial view, and the entropies of the
    frequency view know nothing of what electrodes do at the same time, so that each tells something of its own.

    Args:
        window: length of a window [s].
        overlap: share by which windows overlap, from 0 to below 1.
        view: "both", "spatial", "frequency" or "sequence", as `sandbox.tasks.eeg.EEGTask` says.
        components: spatial filters, at most 64.
        band: of the spatial view [Hz].
        train: trials for training, at least 2; with the defaults 1,200 windows.
        validation: trials for validation.
        test: trials for testing.
        seconds: length of a trial [s].
        snr: power of the responses relative to the noise [dB].
        ignored: amplitude of the response to the ignored talker, relative to that of the attended one.
        alpha: power of alpha relative to the noise [dB].
        lateralisation: the power of alpha is `1 + lateralisation` on the attended side, `1 - lateralisation` on the
            other.
        seed: of all draws; trials of different seeds share nothing.

    Raises:
        ValueError: for options out of range, and a window longer than a trial.

    >>> data = AttentionEEG(train=2, validation=1, test=1, seconds=2.0, components=4).load()
    >>> data.shape, [len(split) for split in (data.train, data.validation, data.test)]
    ((5632,), [4, 2, 2])

    Reference: ours. Responses to speech: Crosse et al. 2016, doi 10.3389/fnhum.2016.00604; stronger where attended:
    Ding & Simon 2012, doi 10.1073/pnas.1205381109; alpha: Kerlin, Shahin & Miller 2010,
    doi 10.1523/JNEUROSCI.3631-09.2010; all recalled.
    """

    train: int = 60
    validation: int = 15
    test: int = 25
    seconds: float = 20.0
    snr: float = -13.0
    ignored: float = 0.5
    alpha: float = -6.0
    lateralisation: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(validation=self.validation, test=self.test)
        if self.train < 2:
            raise ValueError(f"train={self.train}: give at least 2 trials, one for each side")
        if not self.ignored >= 0 or not 0 <= self.lateralisation <= 1:
            raise ValueError(
                f"ignored={self.ignored}, lateralisation={self.lateralisation}: give an amplitude of at least 0, and "
                "an index from 0 to 1"
            )
        if not 0 < self.seconds <= 3600:
            raise ValueError(f"seconds={self.seconds}: give the length of a trial, above 0 and at most an hour")

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the windows of all trials."""
        parts = tuple(
            [self.trial(split, number) for number in range(count)]
            for split, count in enumerate((self.train, self.validation, self.test))
        )
        train, validation, test = parts
        return self.made((train, validation, test))

    def trial(self, split: int, number: int) -> Trial:
        """Return one trial of a split: 0 training, 1 validation, 2 testing."""
        return Trial(self.sources(split, number).eeg, self.side(number))

    def side(self, number: int) -> int:
        """Return the attended side of a trial, 0 left or 1 right: they take turns."""
        return number % 2

    def sources(self, split: int, number: int) -> Sources:
        """Return what the EEG of a trial is made of."""
        rng = np.random.default_rng([self.seed, split, number])
        return sources(
            rng,
            self.side(number),
            round(self.seconds * RATE),
            RATE,
            snr=self.snr,
            ignored=self.ignored,
            alpha=self.alpha,
            lateralisation=self.lateralisation,
        )
