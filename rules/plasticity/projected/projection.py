"""What of a latent weight is shown: the interface of all projections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

Memory: TypeAlias = dict[str, Any]  # what a projection keeps of one parameter: numbers and tensors
Factor: TypeAlias = Callable[[int], float]


class Storage(NamedTuple):
    """How the shown weights of one parameter can be stored."""

    bits: int = 32  # of one weight
    scales: int = 0  # numbers of 32 bits beside the weights


class Projection(ABC):
    """From latent weights to shown ones, and from the gradient of the shown ones back; keeps no state itself.

    Dimension 0 of a weight is that of the outputs.
    """

    @abstractmethod
    def show(self, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        """Return the projected weights, in `out` if that is given; changes nothing else."""

    def latent(self, weight: Tensor) -> Tensor:
        """Return the latent weights of a first projection that should show `weight`; the same by default."""
        return weight

    def init(self, latents: Sequence[Tensor], rates: Sequence[float], factor: Factor | None) -> list[Memory]:
        """Return what is to be remembered of each parameter before the first update; nothing by default.

        Args:
            latents: of each projected parameter.
            rates: learning rate of each.
            factor: planned factor of the learning rate at each update, counted from 0; None where no plan is known.
        """
        return [{} for _ in latents]

    def advance(self, memories: Sequence[Memory], latents: Sequence[Tensor], rates: Sequence[float]) -> list[Memory]:
        """Return the memories after an update, from those before it and the latent weights after it.

        Args:
            memories: before the update; they stay as they are.
            latents: after the update.
            rates: learning rates of the update.
        """
        return list(memories)

    def pull(self, gradient: Tensor, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        """Return the gradient of the latent weights, from that of the shown ones; the same by default.

        `out` may be used for it, and is not read by anyone else.
        """
        return gradient

    def storage(self, latent: Tensor) -> Storage:
        """Return how the shown weights can be stored; by default as they are."""
        return Storage()
