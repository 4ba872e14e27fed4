"""Store and recall: keep the bit that came with the command to store until the command to recall."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rules.fields import at_least, check_fields
from rules.objectives.labels import IGNORED
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.generated import Trial, drawn, poisson, require_seed

GROUPS = 4  # of inputs: a bit of 0, a bit of 1, store, recall
NOTHING, STORE, RECALL = range(3)
SHORTEST = 3  # characters: store, another one, recall


class Sentence(NamedTuple):
    """The characters of a trial."""

    bits: NDArray[np.int64]  # [characters], 0 or 1; none is shown at a recall
    commands: NDArray[np.int64]  # [characters], NOTHING, STORE or RECALL


@dataclass(frozen=True)
class StoreRecall(Task):
    """Spikes of four groups of inputs, `[n, steps, 100]`: a stream of bits, and commands to store and to recall.

    A trial is a sentence of characters, `duration` steps each. Every character but a recall shows a random bit, in one
    of two groups. Commands alternate, store first and recall last: where a store is due, a character has it with
    `probability`, where a recall is due likewise, but never directly behind the store. Sentences without a recall at
    the end of their commands are drawn again. A step is 1 ms.

    The class at a recall is the bit shown at the last store: y has it at the steps of the recall, and -100, which
    losses leave out, at all others. `accuracy` is over all steps of all recalls.

    Args:
        characters: in a sentence, at least 3.
        duration: of a character [ms].
        inputs: number of inputs, a multiple of 4.
        rate: of an active input [Hz].
        probability: of a command where one is due, 0.01 to 0.9.
        train: number of training trials.
        validation: number of validation trials.
        test: number of test trials.
        seed: of the trials, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> import torch
    >>> StoreRecall(train=4).load().train.take(torch.arange(2), torch.Generator())[0].shape, StoreRecall().memory
    (torch.Size([2, 2400, 100]), 2201)

    Reference: Bellec et al. 2018, arXiv 1803.09574, and the authors' tutorial_store_recall.py and storerecall_utils.py
    of IGITUGraz/eligibility_propagation at 3ea9830; code read, none of it is used. Numbers of trials are ours, and
    accuracy is counted by steps, where the authors count characters.
    """

    characters: int = 12
    duration: int = 200  # [ms]
    inputs: int = 100
    rate: float = 50.0  # [Hz]
    probability: float = 1 / 7
    train: int = 2000
    validation: int = 128
    test: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(train=self.train, validation=self.validation, test=self.test, duration=self.duration)
        at_least(SHORTEST, self, "characters")
        require_seed(self.seed)
        if self.inputs < GROUPS or self.inputs % GROUPS:
            raise ValueError(f"inputs={self.inputs}: give a multiple of {GROUPS}, one group for 0, 1, store, recall")
        if not 0 < self.rate <= 1000:
            raise ValueError(
                f"rate={self.rate} Hz: give a rate above 0 and at most 1000 Hz, a spike at each step of 1 ms"
            )
        if not 0.01 <= self.probability <= 0.9:
            raise ValueError(f"probability={self.probability}: give a probability from 0.01 to 0.9")

    @property
    def memory(self) -> int:
        """Time steps from a store at the first character to the first step of a recall at the last."""
        return (self.characters - 1) * self.duration + 1

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the trials, drawn when they are needed; no file is read."""
        return drawn(self.draw, (self.train, self.validation, self.test), self.seed, classes=2)

    def sentence(self, dice: np.random.Generator) -> Sentence:
        """Draw the characters: the first draws of a trial."""
        bits = dice.integers(2, size=self.characters)
        while True:
            commands = np.full(self.characters, NOTHING)
            due, since = STORE, SHORTEST
            for place, wanted in enumerate(dice.random(self.characters) < self.probability):
                if wanted and not (due == RECALL and since == 1):
                    commands[place], due, since = due, STORE + RECALL - due, 0
                since += 1
            if due == STORE and RECALL in commands:
                return Sentence(bits, commands)

    def draw(self, dice: np.random.Generator) -> Trial:
        """Draw a trial."""
        bits, commands = self.sentence(dice)
        active = np.zeros((self.characters, GROUPS), bool)
        active[np.arange(self.characters), bits] = commands != RECALL
        active[:, 2], active[:, 3] = commands == STORE, commands == RECALL
        rates: NDArray[Any] = np.repeat(active * self.rate, self.inputs // GROUPS, axis=1)
        y, kept = np.full(self.characters, IGNORED), IGNORED
        for place, (bit, command) in enumerate(zip(bits, commands, strict=True)):
            kept = bit if command == STORE else kept
            y[place] = kept if command == RECALL else IGNORED
        return poisson(np.repeat(rates, self.duration, axis=0), dice), np.repeat(y, self.duration)
