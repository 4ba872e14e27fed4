"""Cue accumulation: which side had more of seven cues, asked a second after the last of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rules.fields import check_fields
from rules.objectives.labels import IGNORED
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.generated import Trial, drawn, poisson, require_seed

GROUPS = 4  # of inputs: left, right, recall, noise
QUIET = 4  # the noise group fires at a quarter of the rate of the others


class Sizes(NamedTuple):
    """Numbers of trials."""

    train: int
    validation: int
    test: int


SETTINGS = {"bellec": Sizes(6400, 200, 400), "frenkel": Sizes(200, 100, 100)}


@dataclass(frozen=True)
class CueAccumulation(Task):
    """Spikes of four groups of inputs, `[n, steps, 40]`: cues left or right, a wait, and the question which were more.

    Cue k takes the steps from `k interval + (interval - cue)` on, `cue` of them, in the left or the right group, at
    `rate`. With probability 1/2 a trial favours the left side, otherwise the right one; each cue is on the other side
    with `probability`. The recall group is active in the last `recall` steps, the noise group throughout, at a quarter
    of the rate. A step is 1 ms.

    The class is 1 where more cues were on the right side, else 0. It is asked in the last `recall` steps: y has it
    there and -100, which losses leave out, at all others. `accuracy` is that of one decision for each trial: the
    largest mean output over the recall steps, as published.

    The two published settings have the same trials and differ in their number: "bellec" has new ones in each of its
    iterations of 64, here 6,400 in an epoch, validation 200, test 400; "frenkel" has 200 for training and 100 for test,
    here 100 more for validation. Networks and step sizes are those of `experiments/published/`.

    Args:
        setting: "bellec", the default, or "frenkel".
        train: number of training trials; None for that of the setting, and likewise:
        validation: number of validation trials.
        test: number of test trials.
        cues: number of cues, an odd one.
        cue: length of a cue [ms].
        interval: distance between the beginnings of two cues [ms].
        wait: time from the end of the last cue to the end of the trial, recall included [ms].
        recall: length of the recall [ms].
        inputs: number of inputs, a multiple of 4.
        rate: of an active input [Hz].
        probability: of a cue on the side that has fewer.
        seed: of the trials, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> import torch
    >>> data = CueAccumulation(train=4).load()
    >>> data.shape, data.train.take(torch.arange(1), torch.Generator())[0].shape, CueAccumulation().memory
    ((40,), torch.Size([1, 2250, 40]), 2051)

    Reference: Bellec et al. 2020, doi 10.1038/s41467-020-17236-y, and the authors' tutorial_evidence_accumulation_with_
    alif.py at 7dd1558; Frenkel & Indiveri 2022, ISSCC, and ChFrenkel/eprop-PyTorch at 0f32a8f. Code read, both; none of
    it is used. The size of validation and test sets, and repeating 6,400 trials, are ours.
    """

    setting: Literal["bellec", "frenkel"] = "bellec"
    train: int | None = None
    validation: int | None = None
    test: int | None = None
    cues: int = 7
    cue: int = 100  # [ms]
    interval: int = 150  # [ms]
    wait: int = 1200  # [ms]
    recall: int = 150  # [ms]
    inputs: int = 40
    rate: float = 40.0  # [Hz]
    probability: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(**self.sizes._asdict(), cues=self.cues, cue=self.cue, recall=self.recall)
        require_seed(self.seed)
        if self.cues % 2 == 0:
            raise ValueError(f"cues={self.cues}: give an odd number, so that one side has more")
        if self.cue > self.interval:
            raise ValueError(f"cue={self.cue} ms does not fit into interval={self.interval} ms: give a shorter cue")
        if self.recall > self.wait:
            raise ValueError(f"recall={self.recall} ms does not fit into wait={self.wait} ms: give a longer wait")
        if self.inputs < GROUPS or self.inputs % GROUPS:
            raise ValueError(
                f"inputs={self.inputs}: give a multiple of {GROUPS}, one group for left, right, recall, noise"
            )
        if not 0 < self.rate <= 1000:
            raise ValueError(
                f"rate={self.rate} Hz: give a rate above 0 and at most 1000 Hz, a spike at each step of 1 ms"
            )
        if not 0 <= self.probability < 0.5:
            raise ValueError(f"probability={self.probability}: give a probability of at least 0 and below 0.5")

    @property
    def sizes(self) -> Sizes:
        """The numbers of trials: those given, else those of the setting."""
        given = {name: getattr(self, name) for name in Sizes._fields}
        return SETTINGS[self.setting]._replace(**{name: size for name, size in given.items() if size is not None})

    @property
    def steps(self) -> int:
        """Number of time steps of a trial."""
        return self.cues * self.interval + self.wait

    @property
    def memory(self) -> int:
        """Time steps from the first cue to the first step of the recall."""
        return self.steps - self.recall - (self.interval - self.cue) + 1

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the trials, drawn when they are needed; no file is read."""
        return drawn(self.draw, self.sizes, self.seed, classes=2, label=lambda dice: majority(self.sides(dice)))

    def sides(self, dice: np.random.Generator) -> NDArray[np.bool_]:
        """Draw the side of each cue, True for the right one: the first draws of a trial."""
        right = self.probability if dice.integers(2) else 1 - self.probability
        sides: NDArray[np.bool_] = dice.random(self.cues) < right
        return sides

    def draw(self, dice: np.random.Generator) -> Trial:
        """Draw a trial."""
        sides, group = self.sides(dice), self.inputs // GROUPS
        rates: NDArray[Any] = np.zeros((self.steps, GROUPS, group))
        for number, side in enumerate(sides):
            end = (number + 1) * self.interval
            rates[end - self.cue : end, int(side)] = self.rate
        rates[-self.recall :, 2] = self.rate
        rates[:, 3] = self.rate / QUIET
        y = np.full(self.steps, IGNORED)
        y[-self.recall :] = majority(sides)
        return poisson(rates.reshape(self.steps, -1), dice), y


def majority(sides: NDArray[np.bool_]) -> int:
    """Return 1 where more cues are on the right side, else 0."""
    return int(2 * sides.sum() > len(sides))
