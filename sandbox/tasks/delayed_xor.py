"""Delayed exclusive or: whether two pulses, far apart, were the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.fields import at_least, check_fields
from rules.objectives.labels import IGNORED
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.generated import Trial, drawn, poisson, require_seed

GROUPS = 3  # of inputs: a pulse of 0, a pulse of 1, the question


@dataclass(frozen=True)
class DelayedXOR(Task):
    """Spikes of three groups of inputs, `[n, steps, inputs]`: two pulses, `delay` apart, and the question.

    A pulse is `pulse` steps of spikes at `rate` in the group of its bit; both pulses use the same two groups. In the
    last `recall` steps the third group asks. Every input fires at `noise` besides. A step is 1 ms.

    The class is the exclusive or of the two bits: y has it in the recall, and -100, which losses leave out, at all
    other steps. `accuracy` is that of one decision for each trial, the largest mean output over the recall. No linear
    function of spike counts tells the classes apart.

    Args:
        delay: time from the end of the first pulse to the beginning of the second [ms].
        pulse: length of a pulse [ms].
        recall: length of the recall, which begins after the second pulse [ms].
        inputs: number of inputs, a multiple of 3.
        rate: of the inputs of a pulse, and of those that ask [Hz].
        noise: of all inputs at all times [Hz].
        train: number of training trials.
        validation: number of validation trials.
        test: number of test trials.
        seed: of the trials, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> DelayedXOR(train=4, delay=50).load().shape, DelayedXOR(delay=50).memory
    ((30,), 91)

    Reference: the temporal form of the exclusive or, Elman 1990, doi 10.1207/s15516709cog1402_1, with pulses of spikes
    and a delay as in Zheng et al. 2024, doi 10.1038/s41467-023-44614-z; recalled, not read. All numbers are ours.
    """

    delay: int = 100  # [ms]
    pulse: int = 20  # [ms]
    recall: int = 20  # [ms]
    inputs: int = 30
    rate: float = 200.0  # [Hz]
    noise: float = 5.0  # [Hz]
    train: int = 2000
    validation: int = 500
    test: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(train=self.train, validation=self.validation, test=self.test, pulse=self.pulse, recall=self.recall)
        at_least(0, self, "delay", "noise")
        require_seed(self.seed)
        if self.inputs < GROUPS or self.inputs % GROUPS:
            raise ValueError(f"inputs={self.inputs}: give a multiple of {GROUPS}, one group for 0, for 1, to ask")
        if not self.rate > 0 or self.rate + self.noise > 1000:
            raise ValueError(
                f"rate={self.rate} Hz with noise={self.noise} Hz: give a rate above 0, and at most 1000 Hz together, a "
                "spike at each step of 1 ms"
            )

    @property
    def steps(self) -> int:
        """Number of time steps of a trial."""
        return 2 * self.pulse + self.delay + self.recall

    @property
    def memory(self) -> int:
        """Time steps from the first pulse to the first step of the recall."""
        return self.steps - self.recall + 1

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the trials, drawn when they are needed; no file is read."""
        sizes = (self.train, self.validation, self.test)
        return drawn(self.draw, sizes, self.seed, classes=2, label=lambda dice: differ(self.bits(dice)))

    def bits(self, dice: np.random.Generator) -> NDArray[np.int64]:
        """Draw the two bits: the first draws of a trial."""
        return dice.integers(2, size=2)

    def draw(self, dice: np.random.Generator) -> Trial:
        """Draw a trial."""
        bits = self.bits(dice)
        rates: NDArray[Any] = np.full((self.steps, GROUPS, self.inputs // GROUPS), self.noise)
        for bit, start in zip(bits, (0, self.pulse + self.delay), strict=True):
            rates[start : start + self.pulse, bit] += self.rate
        rates[-self.recall :, 2] += self.rate
        y = np.full(self.steps, IGNORED)
        y[-self.recall :] = differ(bits)
        return poisson(rates.reshape(self.steps, -1), dice), y


def differ(bits: NDArray[np.int64]) -> int:
    """Return the exclusive or of two bits."""
    return int(bits[0] != bits[1])
