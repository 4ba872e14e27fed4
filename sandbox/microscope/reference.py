"""What a reference is: a gradient of the frozen model's loss, and how well it is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from sandbox.microscope.frozen import Frozen


class CannotRun(RuntimeError):
    """A reference that this model does not allow; the message says why."""


class Known(NamedTuple):
    """Samples of a reference's gradient, whose mean is the gradient."""

    samples: dict[str, Tensor]  # layer -> [samples, *weight]
    paired: bool  # whether sample n was made with the dice of the rule's draw n


class Reference(ABC):
    """A gradient to hold credit against: a frozen dataclass that computes nothing before it is asked."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What it is called in lines and figures."""

    @abstractmethod
    def gradient(self, frozen: Frozen, draws: int) -> Known:
        """The gradient of the frozen objective for every layer that it reaches; raises CannotRun where it has none."""

    def admit(self, weights: int) -> None:
        """Raises ValueError for a model with more `weights` than it is made for."""
        return
