"""Words spoken by espeak-ng: digits or commands in many voices, for where recordings cannot be fetched."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml

from sandbox.tasks.base import Dataset
from sandbox.tasks.espeak import Speech, Utterance, spoken
from sandbox.tasks.files import card_folder
from sandbox.tasks.hearing import heard
from sandbox.tasks.spoken import SpokenTask
from sandbox.tasks.wav import resampled

WORDS = {
    "digits": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "commands": ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"),
}
VOICES = (  # for training, validation and testing; no voice is in two of them
    ("m1", "m2", "m3", "m5", "m8", "f1", "f2", "f4"),
    ("m4", "f3"),
    ("m6", "m7", "f5"),
)
ACCENTS = ("en-us", "en-gb-x-rp", "en-gb-scotland")  # en-gb would leave out all variants of voices
SPEEDS = (130, 160, 190)  # [words a minute]
PITCHES = (35, 65)


@dataclass(frozen=True, kw_only=True)
class SpokenEspeak(SpokenTask):
    """Words spoken by the synthesiser espeak-ng, as spikes `[n, steps, channels]` or levels: 1,440 / 360 / 540.

    Thirteen voices (variants m1 to m8 and f1 to f5) say ten words with three accents, at three speeds and two pitches.
    Two voices validate, three others test, so their timbre is new; accents, speeds and pitches are not. Accuracies are
    those of this synthesiser, and say nothing of human speech. What is heard is that of `fsdd`
    (`sandbox.tasks.hearing`), at 8 kHz too. The same version of espeak-ng says the same samples, which are synthesised
    once, in about half a minute, and kept as `spoken-espeak/espeak-ng-VERSION-WORDS.npz` in the user's cache; where
    espeak-ng is missing, such a file is read from any data folder.

    The words are easy: a linear model of all 80 steps is right in all 540 digits for testing and in 98.5 % of the
    commands, of the last 40 steps in 35 and 26 % (espeak-ng 1.51). It is a test of a pipeline, and no contest.

    Args:
        words: "digits", the default, zero to nine, or "commands": yes, no, up, down, left, right, on, off, stop, go,
            which are classes 0 to 9.
        channels: number of mel channels.
        frame: length of a frame [ms].
        hop: distance between frames [ms], which is the time step of the spikes.
        low: lower edge of the lowest channel [Hz].
        high: upper edge of the highest channel [Hz].
        steps: number of frames kept; longer words are cut.
        floor: noise floor [dB], relative to the mean power of the word.
        threshold: of the neurons [standard deviations x steps].
        code: "spikes", the default, or "levels".
        lengths: whether batches say where words end, so that silence behind does not count; False by default.

    Raises:
        ValueError: for options out of range; in `load`, for a program that fails, and a file that is damaged.
        FileNotFoundError: in `load`, without espeak-ng and a file; says how to install it.

    Warns: in `load`, where a version whose checksum is on the card says other samples.

    >>> len(SpokenEspeak(words="commands").plan())
    2340

    Reference: espeak-ng, https://github.com/espeak-ng/espeak-ng; the words are those of the Free Spoken Digit Dataset
    and the first ten of Speech Commands. The plan is ours.
    """

    words: Literal["digits", "commands"] = "digits"
    steps: int = 80

    def plan(self) -> list[Utterance]:
        """Return all utterances: by split, voice, word, accent, speed and pitch."""
        voices = [voice for part in VOICES for voice in part]
        every = product(voices, WORDS[self.words], ACCENTS, SPEEDS, PITCHES)
        return [Utterance(word, voice, accent, speed, pitch) for voice, word, accent, speed, pitch in every]

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the words from a data folder, or have them synthesised."""
        plan = self.plan()
        speech = spoken(plan, self.words, data_dir)
        self._require(speech)
        sounds = [resampled(sound / 2**15, speech.rate, self.sampled) for sound in speech.sounds]
        part = np.array([next(k for k, voices in enumerate(VOICES) if one.voice in voices) for one in plan])
        y = torch.tensor([WORDS[self.words].index(one.word) for one in plan])
        return heard(self.ear(), sounds, [one.name for one in plan], y, part, self.lengths)

    def _require(self, speech: Speech) -> None:
        """Warn of samples that are not those on the card."""
        card = yaml.safe_load((card_folder("spoken_espeak") / "card.yaml").read_text())
        known = card["audio"].get(f"{speech.version} {self.words}")
        if known not in (None, speech.checksum):
            warnings.warn(
                f"espeak-ng {speech.version} says samples of SHA-256 {speech.checksum} for {self.words}, and on the "
                f"card there are {known}: it is another build, so compare no accuracies with those of others",
                stacklevel=3,
            )
