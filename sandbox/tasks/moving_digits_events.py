"""Digits that move before a simulated event camera: which digit, from the changes of brightness alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rules.fields import check_fields
from sandbox.cameras import Events
from sandbox.cameras.simulator import simulated
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.dataset import SPLITS
from sandbox.tasks.events import Recordings, Steps
from sandbox.tasks.generated import require_seed
from sandbox.tasks.moving_digits import LOOK, SIDE, Source, Still, stills

CORNERS = 3  # of the path, as N-MNIST's three saccades
FINE = 2  # frames a pixel of the path, from which the camera is simulated
LEAST = 0.01  # of a threshold [ln units]
DIMMEST = 1e-6  # background, beside 1 for ink
FARTHEST = 50  # reach [pixel]


def shifted(image: NDArray[Any], down: float, right: float, side: int) -> NDArray[np.float64]:
    """Return an image in a field of `side` pixels, moved by parts of a pixel: what is between two pixels is shared.

    >>> shifted(np.array([[4.0]]), 0.25, 1.0, side=3).tolist()
    [[0.0, 3.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    height, width = image.shape
    y, x = int(np.floor(down)), int(np.floor(right))
    below, beside = down - y, right - x
    field = np.zeros((side + 1, side + 1))
    for row, a in ((y, 1 - below), (y + 1, below)):
        for column, b in ((x, 1 - beside), (x + 1, beside)):
            field[row : row + height, column : column + width] += a * b * image
    return field[:side, :side]


class Simulated(Recordings):
    """Recordings that are simulated when they are needed, one of each digit.

    Args:
        still: digits and their classes.
        task: with the options of the camera and the path.
        split: 0 for training, 1 for validation, 2 for test.
    """

    def __init__(self, still: Still, task: MovingDigitsEvents, split: int) -> None:
        super().__init__(torch.from_numpy(still[1]), Steps(task.steps, task.duration))
        self.still, self.task, self.split = still, task, split
        self.on, self.off = task.thresholds()

    def events(self, row: int) -> Events:
        """Simulate the events of one recording, from a stream of random numbers of its own."""
        task = self.task
        dice = np.random.default_rng([task.seed, self.split, row])
        angle, turn = 2 * np.pi * dice.random(), dice.choice([-1, 1])
        corners = angle + turn * 2 * np.pi / CORNERS * np.arange(CORNERS + 1)
        path = task.reach * np.stack([np.sin(corners), np.cos(corners)], 1)  # [4, 2], the last corner is the first
        frames = int(np.ceil(np.sqrt(3) * task.reach * FINE))  # of a leg, whose length is sqrt(3) reach
        legs = np.linspace(0, CORNERS, CORNERS * frames + 1)
        places = np.stack([np.interp(legs, np.arange(CORNERS + 1), axis) for axis in path.T], 1) + task.reach
        shown = np.stack([shifted(self.still[0][row], down, right, task.side) for down, right in places])
        times = np.round(np.linspace(0, 1000 * task.duration * task.steps, len(places))).astype(np.int64)
        light = task.background + (1 - task.background) * shown
        return simulated(light, times, self.on, self.off, noise=task.noise, dice=dice)

    def parts(self) -> Iterator[Tensor]:
        """Yield the first recordings, the classes and digits of all, and the seed: all come from the same code."""
        yield from self.take(torch.arange(min(LOOK, len(self))), torch.Generator())
        yield from (self.y, torch.from_numpy(self.still[0]), torch.tensor([self.task.seed, self.split]))


@dataclass(frozen=True)
class MovingDigitsEvents(Task):
    """Simulated events of MNIST digits that move along a triangle, `[n, steps, 2, 34, 34]`: never N-MNIST.

    The digit, bright before a dim background, moves with constant speed along three legs of a triangle, whose
    orientation and sense are drawn for each recording, over the whole time. The camera is that of
    `sandbox.cameras.simulator.simulated`: an event wherever the log brightness of a pixel has changed by its threshold.
    Thresholds differ by pixel, `threshold + mismatch` times a normal number and at least 0.01, and are drawn once from
    the seed, as those of one camera; noise events are drawn for each recording. Events are counted in steps.
    What it lacks beside a real camera is listed there. Numbers are our own choice.

    Each split has a recording of each of its digits: 600 / 200 / 200 of those that come with the project, or `train` /
    5,000 / 10,000 of MNIST. Accuracies are those of this simulation, and never to be reported as N-MNIST's.

    The order of events is not needed for most of it: with the defaults, a linear model of the sums over time is right
    in 84 % of the 200 recordings for testing, and of all steps in 76 %.

    Args:
        steps: number of time steps.
        duration: of a step [ms].
        threshold: mean change of log brightness that fires, of both polarities [ln units].
        mismatch: standard deviation of thresholds over pixels [ln units].
        noise: rate of noise events of a pixel [Hz].
        reach: distance of the corners of the triangle from its centre [pixel], at most 50.
        background: brightness where there is no ink, beside 1 for full ink, at least 1e-6.
        digits: "mnist_sample", the thousand digits that come with the project, which need no file, or "mnist".
        train: number of recordings to learn from; None for all.
        seed: of the camera and the paths, 0 by default.

    Raises:
        ValueError: for options out of range; `load` with `digits="mnist"` raises as that of `MNIST`.

    >>> data = MovingDigitsEvents(train=3).load()
    >>> x, y = data.train.take(torch.arange(2), torch.Generator())
    >>> x.shape, bool((x.sum((1, 2, 3, 4)) > 500).all())
    (torch.Size([2, 10, 2, 34, 34]), True)

    Reference: that of `simulated`; the path is after Orchard et al. 2015, doi 10.3389/fnins.2015.00437.
    """

    steps: int = 10
    duration: float = 30.0  # [ms]
    threshold: float = 0.3
    mismatch: float = 0.03
    noise: float = 0.1  # [Hz]
    reach: int = 3
    background: float = 0.2
    digits: Source = "mnist_sample"
    train: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        require_seed(self.seed)
        at_least_one(steps=self.steps, reach=self.reach)
        if self.train is not None:
            at_least_one(train=self.train)
        if not 0.1 <= self.duration <= 1000 or round(1000 * self.duration) != 1000 * self.duration:
            raise ValueError(f"duration={self.duration} ms: give a whole number of us, from 0.1 to 1000 ms")
        if not self.threshold >= LEAST or not self.mismatch >= 0:
            raise ValueError(
                f"threshold={self.threshold} with mismatch={self.mismatch}: give a threshold of at least {LEAST}, and "
                "a mismatch of at least 0, such as a tenth of it"
            )
        if self.reach > FARTHEST:
            raise ValueError(
                f"reach={self.reach}: give at most {FARTHEST} pixels; memory and time of a recording grow with its cube"
            )
        if not DIMMEST <= self.background < 1:
            raise ValueError(
                f"background={self.background}: give a brightness above 0, at least {DIMMEST:g}, and below 1, that of "
                "ink"
            )
        if (contrast := -float(np.log(self.background))) <= self.threshold:
            raise ValueError(
                f"threshold={self.threshold} with background={self.background}: from the background to ink, log "
                f"brightness moves by {contrast:.3g}, and no pixel of mean threshold fires: give a lower threshold, or "
                "a darker background"
            )
        if not 0 <= self.noise <= 1000:
            raise ValueError(f"noise={self.noise} Hz: give a rate from 0 to 1000 Hz")

    @property
    def memory(self) -> int:
        """All time steps, at most: every leg of the path shows the digit."""
        return self.steps

    @property
    def side(self) -> int:
        """Pixels of a row, and of a column: a digit and where it moves."""
        return SIDE + 2 * self.reach

    def thresholds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the thresholds of the camera for brighter and darker events, `[side, side]` each."""
        dice = np.random.default_rng([self.seed, len(SPLITS)])
        spread = dice.standard_normal((2, self.side, self.side))
        on, off = np.maximum(self.threshold + self.mismatch * spread, LEAST)
        return on, off

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the digits; recordings are simulated when they are needed."""
        found = stills(self.digits, data_dir)
        x, y = found["train"]
        if self.train is not None and self.train > len(y):
            raise ValueError(f"train={self.train}: {self.digits} has {len(y)} digits to learn from; give that or fewer")
        found["train"] = (x[: self.train], y[: self.train])
        train, validation, test = (Simulated(found[name], self, split) for split, name in enumerate(SPLITS))
        return Dataset(train, validation, test, classes=10, sequence=True)
