"""The interface of a reference: samples of a gradient of the frozen model's loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from sandbox.microscope.frozen import Frozen


class CannotRun(RuntimeError):
    """The reference cannot run on this model; the message says why."""


class Known(NamedTuple):
    """Samples of a reference's gradient, whose mean is the gradient."""

    samples: dict[str, Tensor]  # layer -> [samples, *weight]
    paired: bool  # whether sample n used the random numbers of the rule's draw n


class Reference(ABC):
    """A gradient to compare credit with: a frozen dataclass that computes nothing until `gradient` is called."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Its name in tables and figures."""

    @abstractmethod
    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """Return the gradient of the frozen objective for every layer that it reaches; raise CannotRun without one."""

    def admit(self, weights: int) -> None:
        """Raise ValueError for a model with more `weights` than this reference allows."""
        return
