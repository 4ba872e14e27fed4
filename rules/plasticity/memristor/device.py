"""What anything that holds weights in matter can be asked: what it holds, to take pulses, and to let time pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]  # tensors and counts of one array of cells; handed in and changed in place


class Device(ABC):
    """A kind of memristive weight: settings as a frozen dataclass, the state of an array handed in.

    Weights here are normalised: what `range` spans, without a unit. Every draw takes `rng`.
    """

    read_noise: float
    cell_noise: float

    @property
    @abstractmethod
    def step(self) -> float:
        """Mean weight change of one pulse."""

    @abstractmethod
    def with_step(self, step: float) -> Device:
        """The same device with another mean step."""

    @property
    @abstractmethod
    def range(self) -> tuple[float, float]:
        """Nominal bounds of the weight."""

    @abstractmethod
    def init(self, weights: Tensor, rng: torch.Generator) -> State:
        """Fabricate an array, its spread between cells included, and write `weights` to it as well as it can."""

    @abstractmethod
    def write(self, state: State, weights: Tensor, rng: torch.Generator, where: Tensor) -> None:
        """Write and verify, where the mask says so: each cell ends at the nearest weight that it can hold."""

    @abstractmethod
    def read(self, state: State) -> Tensor:
        """The weights that the array shows, write noise included."""

    @abstractmethod
    def held(self, state: State) -> Tensor:
        """The weights that the array holds, without write noise."""

    @abstractmethod
    def bounds(self, state: State) -> tuple[Tensor, Tensor]:
        """The bounds of `held`, cell by cell."""

    @abstractmethod
    def pulse(self, state: State, n: Tensor, rng: torch.Generator) -> int:
        """Apply |n| pulses in the direction of n to every cell; returns how many pulses were written."""

    @abstractmethod
    def drifted(self, state: State, steps: int) -> Tensor:
        """What `read` will give after so many steps without a pulse."""

    @abstractmethod
    def tick(self, state: State, rng: torch.Generator) -> int:
        """One step passes: drift, and what upkeep the device needs; returns how many pulses were written."""


def nonzero(x: Tensor) -> Tensor:
    """Indices of what is not zero in a flat tensor; on a CPU NumPy's search of bits is several times faster than
    torch's, and than either's of numbers."""
    if x.device.type == "cpu":
        return torch.from_numpy((x != 0).numpy().nonzero()[0])
    return x.nonzero().squeeze(1)


def normal(like: Tensor, rng: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape of `like`."""
    return torch.empty_like(like).normal_(generator=rng)


def uniform(like: Tensor, rng: torch.Generator) -> Tensor:
    """Uniform numbers of [0, 1) in the shape of `like`."""
    return torch.empty_like(like).uniform_(generator=rng)
