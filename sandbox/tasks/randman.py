"""Randman: points on smooth random manifolds, one for each class, as the times of spikes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rules.fields import at_least, check_fields
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.generated import require_seed
from sandbox.tasks.splits import Samples

PRECISION = 1e-3  # of the power spectrum, at which it is cut off
CUTOFF = 1000  # largest number of frequencies
SLACK = 1e-7  # by which the last time stays below 1
HELD_OUT = 0.2  # share of the samples for validation, and for test


class Timed(Samples):
    """Samples of one spike a unit, kept as the step of each, `[n, units]`, and read as `[n, steps, units]`."""

    def __init__(self, times: Tensor, y: Tensor, steps: int) -> None:
        self.times, self.y, self.steps = times, y, steps

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the samples with these numbers."""
        spikes = torch.arange(self.steps)[:, None] == self.times[rows][:, None]
        return spikes.float(), self.y[rows]

    def parts(self) -> Iterator[Tensor]:
        """Yield times, answers, and the number of steps."""
        yield from (self.times, self.y, torch.tensor(self.steps))


def manifold(x: Tensor, units: int, alpha: float, seed: int) -> Tensor:
    """Map points `[n, dim]` in 0..1 to a smooth random manifold, `[n, units]`, float32.

        f_u(x) = prod_d sum_k a s_k sin(2 pi (k x_d b + c)),   s_k = 1 / ((k + 1)^alpha + 1),   k = 0, 1, ...

    with a, b and c uniform in 0..1, drawn for every unit u, axis d and frequency k, but a = 0 for k = 0, which would be
    a constant. There are `ceil(1000^(1 / alpha))` frequencies, at most 1,000.

    Args:
        x: points, float32.
        units: number of units.
        alpha: how fast the spectrum falls; larger is smoother.
        seed: of the manifold.

    >>> points = torch.linspace(0, 1, 5)[:, None]
    >>> manifold(points, units=3, alpha=2.0, seed=0).shape
    torch.Size([5, 3])
    """
    dim, frequencies = x.shape[1], min(math.ceil(PRECISION ** (-1 / alpha)), CUTOFF)
    drawn = torch.rand(units, dim, 3, frequencies, generator=torch.Generator().manual_seed(seed))
    drawn[:, :, 0, 0] = 0
    height, stretch, shift = drawn.unbind(2)  # [units, dim, frequencies] each
    scale = 1.0 / ((torch.arange(frequencies, dtype=torch.float32) + 1) ** alpha + 1.0)
    total = torch.zeros(len(x), units, dim)
    for k in range(frequencies):
        angle = 2 * math.pi * (k * x[:, None] * stretch[..., k] + shift[..., k])
        total += height[..., k] * scale[k] * torch.sin(angle)
    return total.prod(-1)


@dataclass(frozen=True)
class Randman(Task):
    """Spikes `[n, steps, units]`, one a unit: its time is the coordinate of a point on the manifold of the class.

    Every class has a manifold of its own (`manifold`), of `dim` dimensions in as many as there are units. Points are
    drawn uniformly from its parameters, and each unit's coordinate is stretched to 0..1 over all points of the class.
    Rates of whole samples say nothing: every unit fires once. Of the samples, shuffled, 60 % are for training and 20 %
    each for validation and test.

    Which units fire late does say something. With the defaults, a linear model of the spike counts of the last 50 of
    100 steps is right in more than 99 % of the samples for testing, and of the last 25 in less than 95 %.

    Args:
        classes: number of classes.
        units: number of inputs.
        dim: dimensions of the manifolds.
        alpha: smoothness; with larger numbers the task is easier.
        steps: number of time steps.
        samples: of each class.
        seed: of manifolds and points, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> data = Randman(classes=2, units=5, samples=20).load()
    >>> x, _ = data.train.take(torch.arange(3), torch.Generator())
    >>> x.shape, x.sum(1).unique().tolist()
    (torch.Size([3, 100, 5]), [1.0])

    Reference: Zenke & Vogels 2021, doi 10.1162/neco_a_01367; fzenke/randman at d3e22f5, its torch version and the
    notebook "Spiking dataset generation example". Code read, none of it is used; with one spike a unit, the times are
    those that it draws from the same seed. The split, and a whole number of steps, rounded down, are ours.
    """

    classes: int = 10
    units: int = 100
    dim: int = 2
    alpha: float = 2.0
    steps: int = 100
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(units=self.units, dim=self.dim, steps=self.steps)
        at_least(2, self, "classes")
        at_least(5, self, "samples")
        require_seed(self.seed)
        if not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha}: give a number above 0, such as 1.0; larger is smoother")

    @property
    def memory(self) -> int:
        """All time steps, at most: each spike has to do with the answer at the end; later ones alone may suffice."""
        return self.steps

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Generate the data; no file is read."""
        times, y = self.drawn()
        held = round(HELD_OUT * len(y))
        sizes = [len(y) - 2 * held, held, held]
        parts = zip(times.split(sizes), y.split(sizes), strict=True)
        train, validation, test = (Timed(*part, self.steps) for part in parts)
        return Dataset(train, validation, test, self.classes, sequence=True)

    def drawn(self) -> tuple[Tensor, Tensor]:
        """Draw the step of each spike, `[n, units]`, and the classes `[n]`, in the order of the authors' code."""
        dice = np.random.RandomState(self.seed)
        seeds = dice.randint(np.iinfo(np.int64).max, size=(self.classes, 1))
        found = []
        for seed in seeds[:, 0].tolist():
            points = torch.tensor(dice.rand(self.samples, self.dim), dtype=torch.float32)
            y = manifold(points, self.units, self.alpha, seed)
            low, high = y.min(0).values, y.max(0).values
            found.append((y - low) / (high - low + SLACK))
        order = np.arange(self.classes * self.samples)
        dice.shuffle(order)
        chosen = torch.from_numpy(order)
        times = (torch.cat(found).double() * self.steps).floor().long()[chosen].clamp(max=self.steps - 1)
        return times, torch.arange(self.classes).repeat_interleave(self.samples)[chosen]
