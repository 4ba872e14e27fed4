"""How the learning rate changes from update to update: in closed form, so that a resumed run needs no state for it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rules.fields import check_fields


class Schedule(ABC):
    """The factor of the learning rate, as a function of the number of updates so far."""

    @abstractmethod
    def factor(self, update: int) -> float:
        """Return the factor for update number `update`, counted from 0."""

    def over(self, updates: int) -> Schedule:
        """Return the schedule for a training of so many updates, if it was left open how many there will be."""
        return self


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A learning rate that rises linearly to its full value, `(n + 1) / updates` at update n.

    Args:
        updates: after which the full rate is reached.

    Raises:
        ValueError: for fewer than one update.

    >>> [WarmUp(4).factor(n) for n in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    updates: int = 100

    def __post_init__(self) -> None:
        check_fields(self)
        require_count("updates", self.updates, 1)

    def factor(self, update: int) -> float:
        return rise(update, self.updates)


@dataclass(frozen=True)
class Cosine(Schedule):
    """A learning rate that falls along half a cosine, after a linear rise: `low + (1 - low) (1 + cos(pi x)) / 2`.

    Here x is the share of the updates between the rise and the end.

    Args:
        updates: number of updates in all; None for those of the whole training, in an experiment.
        low: factor at the end, 0 by default.
        warm_up: updates of the linear rise, 0 by default; a number below 1 is their share of all updates.

    Raises:
        ValueError: for a number out of range, or a rise that is not shorter than the whole; when used, for `updates`
            left open.

    >>> [round(Cosine(4).factor(n), 3) for n in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]

    Reference: Loshchilov & Hutter 2017 (arXiv 1608.03983), without restarts.
    """

    updates: int | None = None
    low: float = 0.0
    warm_up: float = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if not (0 <= self.warm_up < 1 or (float(self.warm_up).is_integer() and self.warm_up >= 0)):
            raise ValueError(f"warm_up={self.warm_up:g}: give a whole number of updates, or a share of all below 1")
        if not 0 <= self.low <= 1:
            raise ValueError(f"low={self.low}: give a factor between 0 and 1")
        if self.updates is not None and not self.updates > self.warm_up:
            raise ValueError(
                f"updates={self.updates}, warm_up={self.warm_up:g}: the rise must be shorter than the whole"
            )

    def over(self, updates: int) -> Schedule:
        return replace(self, updates=updates) if self.updates is None else self

    def factor(self, update: int) -> float:
        if self.updates is None:
            raise ValueError("a cosine needs its length: Cosine(updates=1000)")
        rising = self.warm_up if self.warm_up >= 1 else round(self.warm_up * self.updates)
        if update < rising:
            return rise(update, rising)
        done = min(1.0, (update - rising) / (self.updates - rising))
        return self.low + (1 - self.low) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class StepDecay(Schedule):
    """A learning rate that is multiplied by `gamma` after every so many updates, after a linear rise.

    Args:
        every: updates between two changes, counted from the end of the rise.
        gamma: factor of each change, 0.1 by default.
        warm_up: updates of the linear rise, 0 by default.

    Raises:
        ValueError: for a number out of range.

    >>> [StepDecay(2, gamma=0.5).factor(n) for n in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    every: int = 1000
    gamma: float = 0.1
    warm_up: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        require_count("every", self.every, 1)
        require_count("warm_up", self.warm_up, 0)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma={self.gamma}: give a factor above 0 and at most 1")

    def factor(self, update: int) -> float:
        if update < self.warm_up:
            return rise(update, self.warm_up)
        return float(self.gamma ** ((update - self.warm_up) // self.every))


def rise(update: int, updates: float) -> float:
    """Return the factor of a linear rise."""
    return min(1.0, (update + 1) / updates)


def require_count(name: str, value: Any, least: int) -> None:
    """Raise ValueError for a number of updates that is not whole or too small."""
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name}={value}: give a whole number of updates, at least {least}")


SCHEDULES: dict[str, Callable[..., Schedule]] = {"warm_up": WarmUp, "cosine": Cosine, "step": StepDecay}
