"""The interface of a device that holds weights: reading, writing, pulses, and the passing of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rules import draws

State = dict[str, Any]  # tensors and counts of one array of cells; passed as an argument, changed in place


class Device(ABC):
    """A kind of memristive weight: settings in a frozen dataclass, the state of an array passed as an argument.

    Weights are normalised: within `range`, without a unit. Every draw uses `rng`.
    """

    read_noise: float
    cell_noise: float

    @property
    @abstractmethod
    def step(self) -> float:
        """Mean weight change of one pulse."""

    @abstractmethod
    def with_step(self, step: float) -> Device:
        """Return the same device with another mean step."""

    @property
    @abstractmethod
    def range(self) -> tuple[float, float]:
        """Nominal bounds of the weight."""

    @abstractmethod
    def init(self, weights: Tensor, rng: torch.Generator) -> State:
        """Fabricate an array, with its spread between cells, and write `weights` to it as accurately as it can."""

    @abstractmethod
    def write(self, state: State, weights: Tensor, rng: torch.Generator, where: Tensor) -> None:
        """Write and verify where the mask is True: each cell ends at the nearest weight that it can hold."""

    @abstractmethod
    def read(self, state: State) -> Tensor:
        """Return the visible weights of the array, write noise included."""

    @abstractmethod
    def held(self, state: State) -> Tensor:
        """Return the weights that the array holds, without write noise."""

    @abstractmethod
    def bounds(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the bounds of `held`, cell by cell."""

    @abstractmethod
    def pulse(self, state: State, n: Tensor, rng: torch.Generator) -> int:
        """Apply |n| pulses in the direction of n to every cell; return how many pulses were written."""

    @abstractmethod
    def drifted(self, state: State, steps: int) -> Tensor:
        """Return what `read` will give after `steps` steps without a pulse."""

    @abstractmethod
    def tick(self, state: State, rng: torch.Generator) -> int:
        """Let one step pass, with drift and maintenance; return how many pulses were written."""


def nonzero(x: Tensor) -> Tensor:
    """Return the indices of the nonzero entries of a flat tensor.

    On a CPU, NumPy's search of booleans is several times faster than torch's, and than either's search of numbers.
    """
    if x.device.type == "cpu":
        return torch.from_numpy((x != 0).numpy().nonzero()[0])
    return x.nonzero().squeeze(1)


def normal(like: Tensor, rng: torch.Generator) -> Tensor:
    """Draw standard normal numbers in the shape of `like`."""
    return draws.normal(like.shape, rng, like)


def uniform(like: Tensor, rng: torch.Generator) -> Tensor:
    """Draw uniform numbers in [0, 1) in the shape of `like`."""
    return draws.uniform(like.shape, rng, like)
