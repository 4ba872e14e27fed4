"""Videos of a digit that moves: which way, which no frame and no average of the frames tells."""

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
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.dataset import SPLITS
from sandbox.tasks.generated import require_seed
from sandbox.tasks.moving_digits import LOOK, SIDE, Source, Still, stills
from sandbox.tasks.splits import Samples

STEPS_OF = {  # rows and columns of a step, by the number of directions; the opposite of k is k + half of them
    2: ((0, 1), (0, -1)),
    4: ((0, 1), (1, 0), (0, -1), (-1, 0)),
    8: ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)),
}


def moved(image: NDArray[Any], place: tuple[int, int], step: tuple[int, int], steps: int) -> NDArray[np.float32]:
    """Return frames `[steps, height, width]` of an image on a torus: frame k is shifted by `place + k step`.

    >>> moved(np.array([[1.0, 0.0, 0.0]]), (0, 1), (0, 1), steps=3)[:, 0].tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    shifts = [(place[0] + k * step[0], place[1] + k * step[1]) for k in range(steps)]
    return np.stack([np.roll(image, shift, (0, 1)) for shift in shifts]).astype(np.float32)


class Videos(Samples):
    """Videos in pairs: numbers 2k and 2k + 1 show the same frames, one forwards and the other backwards.

    Args:
        still: digits and their classes.
        task: with the options of the videos.
        count: number of videos, even.
        split: 0 for training, 1 for validation, 2 for test.
    """

    def __init__(self, still: Still, task: MovingDigitsVideo, count: int, split: int) -> None:
        self.still, self.task, self.split = still, task, split
        self.y = torch.tensor([self._drawn(row)[0] for row in range(count)])

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the videos with these numbers, `[n, steps, 1, side, side]`; `rng` is not used."""
        videos = np.stack([self._video(row) for row in rows.tolist()])
        return torch.from_numpy(videos)[:, :, None], self.y[rows]

    def parts(self) -> Iterator[Tensor]:
        """Yield the first videos, the classes of all, and the seed: all others come from the same code and digits."""
        yield from self.take(torch.arange(min(LOOK, len(self))), torch.Generator())
        yield from (self.y, torch.from_numpy(self.still[0]), torch.tensor([self.task.seed, self.split]))

    def _drawn(self, row: int) -> tuple[int, int, tuple[int, int]]:
        """Return the direction of a video, the number of its digit, and where the video of its pair begins."""
        dice = np.random.default_rng([self.task.seed, self.split, row // 2])
        half = self.task.directions // 2
        axis, digit = int(dice.integers(half)), int(dice.integers(len(self.still[1])))
        place = tuple(dice.integers(self.task.side, size=2).tolist())
        return axis + half * (row % 2), digit, place

    def _video(self, row: int) -> NDArray[np.float32]:
        task = self.task
        direction, digit, place = self._drawn(row - row % 2)
        canvas = np.zeros((task.side, task.side), np.float32)
        canvas[:SIDE, :SIDE] = self.still[0][digit]
        down, right = STEPS_OF[task.directions][direction]
        frames = moved(canvas, place, (down * task.speed, right * task.speed), task.steps)
        return frames[::-1].copy() if row % 2 else frames


@dataclass(frozen=True)
class MovingDigitsVideo(Task):
    """Grey videos `[n, steps, 1, side, side]` of a digit that moves over a torus; the class is the direction.

    A digit leaves at one edge and comes in at the other. Its place in the first frame is uniform, so no single frame
    has to do with the direction. The average of all frames tells the axis and not which way along it: a digit that
    moves the other way from the last place to the first has the same average, and is as likely. Of every split the
    videos 2k and 2k + 1 are such a pair, frame by frame the same, so a model of the average of the frames is right in
    half of the samples at most, and by chance in `1 / directions`.

    So it is: with the defaults, a linear model of the sums of 2,000 videos is right in 25 % of 1,000 for testing, and
    one of all their pixels in 44 %.

    Directions are numbered clockwise from the right; the opposite of k is `k + directions / 2`. Digits are drawn from
    those of the split alone, so that no digit for testing is seen before.

    Args:
        steps: number of frames.
        directions: 2 (right, left), 4, or 8 with the diagonals.
        speed: pixels that a digit moves between two frames, along each axis that it moves along.
        side: pixels of a row, and of a column, at least 28.
        digits: "mnist_sample", the thousand digits that come with the project, which need no file, or "mnist".
        train: number of videos to learn from, even.
        validation: number of videos for validation, even.
        test: number of videos for testing, even.
        seed: of the data, 0 by default.

    Raises:
        ValueError: for options out of range; `load` with `digits="mnist"` raises as that of `MNIST`.

    >>> data = MovingDigitsVideo(train=4, validation=2, test=2).load()
    >>> x, y = data.train.take(torch.arange(2), torch.Generator())
    >>> torch.equal(x[0].flip(0), x[1]), int(y[1] - y[0])
    (True, 2)

    Reference: the task is ours.
    """

    steps: int = 10
    directions: int = 4
    speed: int = 2
    side: int = 32
    digits: Source = "mnist_sample"
    train: int = 4000
    validation: int = 1000
    test: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        require_seed(self.seed)
        at_least_one(speed=self.speed, train=self.train, validation=self.validation, test=self.test)
        if self.steps < 2:
            raise ValueError(f"steps={self.steps}: give at least 2 frames; one shows no motion")
        if self.directions not in STEPS_OF:
            raise ValueError(f"directions={self.directions}: give 2, 4 or 8")
        if self.side < SIDE:
            raise ValueError(f"side={self.side}: give at least {SIDE} pixels, the side of a digit")
        if 2 * self.speed % self.side == 0 or self.speed >= self.side:
            raise ValueError(
                f"speed={self.speed} with side={self.side}: both ways look the same, or it is more than a whole turn; "
                f"give a speed below {self.side}, and other than half of it"
            )
        for name in SPLITS:
            if getattr(self, name) % 2:
                raise ValueError(f"{name}={getattr(self, name)}: give an even number; videos come in pairs")

    @property
    def memory(self) -> int:
        """All frames, at most: any two that follow each other tell the direction."""
        return self.steps

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the digits, and draw where they move."""
        found = stills(self.digits, data_dir)
        train, validation, test = (
            Videos(found[name], self, getattr(self, name), split) for split, name in enumerate(SPLITS)
        )
        return Dataset(train, validation, test, classes=self.directions, sequence=True)
