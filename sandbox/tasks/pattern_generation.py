"""Pattern generation: draw curves, sums of sines, while a frozen input is played."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rules.fields import check_fields
from sandbox.tasks.base import Dataset, Split, Task, at_least_one
from sandbox.tasks.generated import require_seed

WEIGHTS = (0.5, 2.0)  # between which the weight of a sine is drawn
GROUPS = 5  # of inputs of a clock


@dataclass(frozen=True)
class PatternGeneration(Task):
    """Numbers at each step, `[n, steps, outputs]`, while the inputs `[n, steps, 100]` repeat the same spikes.

        y[t] = sum_i w_i sin(p_i + 2 pi c_i t / (steps - 1)), then less y[0] and divided by its largest magnitude

    with `w_i` uniform in 0.5..2, `p_i` in 0..2 pi, and whole numbers of `cycles` c_i. As published there is one
    pattern, and nothing to generalise to: validation and test samples are the pattern itself. An epoch shows it
    `train` times; with a batch size of 1 each is one of the published iterations. A step is 1 ms. Models are judged by
    R2; the loss is `mse` at every step.

    Args:
        input: "noise", the default: Poisson spikes at `rate`, drawn once. "clock": one of five groups of inputs after
            the other is active, each for a fifth of the time, with spikes at `rate` that are regular.
        patterns: number of pairs of input and curves; each has spikes of its own with "noise", and must be 1 with
            "clock".
        steps: of a pattern.
        outputs: number of curves.
        cycles: of the sines in one pattern.
        inputs: number of inputs.
        rate: of the inputs [Hz].
        train: times that an epoch shows each pattern.
        seed: of spikes and curves, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> data = PatternGeneration(train=3).load()
    >>> data.target, data.train.y.shape, float(data.train.y.abs().max())
    ('values', torch.Size([3, 1000, 1]), 1.0)

    Reference: Bellec et al. 2020, doi 10.1038/s41467-020-17236-y, and the authors' tutorial_pattern_generation.py and
    models.py (`sum_of_sines_target`) at 7dd1558; code read, none of it is used. With "noise", the defaults and one
    pattern, input and curves are those that the authors' code draws after `numpy.random.seed(seed)`. The clock is that
    of the paper's figure, recalled; its regular spikes are ours.
    """

    input: Literal["noise", "clock"] = "noise"
    patterns: int = 1
    steps: int = 1000
    outputs: int = 1
    cycles: tuple[int, ...] = (1, 2, 3, 5)
    inputs: int = 100
    rate: float = 50.0  # [Hz]
    train: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "cycles", tuple(self.cycles))
        at_least_one(patterns=self.patterns, outputs=self.outputs, inputs=self.inputs, train=self.train)
        require_seed(self.seed)
        if not self.cycles or min(self.cycles) < 1:
            raise ValueError(f"cycles={self.cycles}: give whole numbers of at least 1, one for each sine, as in (1, 2)")
        if self.steps <= 2 * max(self.cycles) + 1:
            least = 2 * max(self.cycles) + 1
            raise ValueError(f"steps={self.steps} are too few for {max(self.cycles)} cycles: give more than {least}")
        if not 0 < self.rate <= 1000:
            raise ValueError(
                f"rate={self.rate} Hz: give a rate above 0 and at most 1000 Hz, a spike at each step of 1 ms"
            )
        if self.input == "clock" and self.patterns > 1:
            raise ValueError(
                f"patterns={self.patterns} with input='clock': the clock is the same for all patterns and says nothing "
                "about which to draw; give patterns=1, or input='noise'"
            )
        if self.input == "clock" and (self.inputs < GROUPS or self.inputs % GROUPS):
            raise ValueError(f"inputs={self.inputs} with input='clock': give a multiple of {GROUPS}")

    @property
    def memory(self) -> int:
        """1 with noise, whose spikes at a step say which step it is; the steps of one tick of the clock."""
        return 1 if self.input == "noise" else -(-self.steps // GROUPS)

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Generate the data; no file is read."""
        dice = np.random.RandomState(self.seed)
        x = self.noise(dice) if self.input == "noise" else self.clock()[None]
        y = np.stack([[self.curve(dice) for _ in range(self.outputs)] for _ in range(self.patterns)]).swapaxes(1, 2)
        once = Split(torch.from_numpy(x).float(), torch.from_numpy(y).float(), by_step=True)
        train = Split(once.x.repeat(self.train, 1, 1), once.y.repeat(self.train, 1, 1), by_step=True)
        return Dataset(train, once, once, sequence=True, target="values")

    def noise(self, dice: np.random.RandomState) -> NDArray[np.bool_]:
        """Draw the spikes of all patterns, `[patterns, steps, inputs]`."""
        spikes: NDArray[np.bool_] = dice.rand(self.patterns, self.steps, self.inputs) < self.rate / 1000
        return spikes

    def clock(self) -> NDArray[np.bool_]:
        """Return the spikes of a clock, `[steps, inputs]`: regular, one group after the other."""
        steps = np.arange(self.steps)
        regular = np.diff(np.floor(steps * self.rate / 1000), prepend=-1) > 0  # whenever another spike is due
        tick = steps * GROUPS // self.steps
        group = np.arange(self.inputs) * GROUPS // self.inputs
        spikes: NDArray[np.bool_] = regular[:, None] & (tick[:, None] == group)
        return spikes

    def curve(self, dice: np.random.RandomState) -> NDArray[np.float64]:
        """Draw a curve `[steps]`, from 0, within -1..1."""
        weights = dice.uniform(*WEIGHTS, size=len(self.cycles))
        phases = dice.uniform(0, 2 * np.pi, size=len(self.cycles))
        angles = np.linspace(phases, phases + 2 * np.pi * np.array(self.cycles), self.steps)  # [steps, sines]
        total = np.sin(angles) @ weights
        total = total - total[0]
        found: NDArray[np.float64] = total / np.abs(total).max()
        return found
