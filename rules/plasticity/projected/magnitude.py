"""Pruning by magnitude: the smallest weights are 0, at once or gradually."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rules.fields import at_least
from rules.plasticity.projected.projection import Factor, Memory
from rules.plasticity.projected.recipe import Projected


@dataclass(frozen=True)
class Magnitude(Projected):
    """Weights of which the smallest are pruned, and stay so: at one update, or along a cubic curve.

    After update t from `begin` to `end` the share that is pruned is

        sparsity (1 - (1 - (t - begin) / (end - begin))^3)

    A pruned weight is shown as 0 for good; its latent weight keeps moving, which shows nowhere.

    Args:
        sparsity: share of the weights that is pruned in the end, from 0 to below 1.
        begin: number of updates before the first pruning; 0 prunes the initial weights.
        end: number of updates at which the sparsity is reached; None prunes once, at `begin`.
        every: updates between two prunings, 1 by default.
        scope: rank the weights of each "layer", or of all projected layers together ("global").

    Raises:
        ValueError: for a sparsity outside of [0, 1), and for an end that is not after `begin`.

    >>> p = torch.nn.Parameter(torch.tensor([[0.1, -0.3, 0.2, 1.0]]))
    >>> optimizer = Magnitude(sparsity=0.5)([p])
    >>> p.data
    tensor([[ 0.0000, -0.3000,  0.0000,  1.0000]])

    Reference: Zhu & Gupta 2017 (arXiv 1710.01878), equation 1, with an initial sparsity of 0.
    """

    sparsity: float = 0.9
    begin: int = 0
    end: int | None = None
    every: int = 1
    scope: Literal["layer", "global"] = "layer"

    prunes: ClassVar[bool] = True

    def check(self) -> None:
        at_least(0, self, "begin")
        at_least(1, self, "every")
        if not 0 <= self.sparsity < 1:
            raise ValueError(f"sparsity={self.sparsity}: give the share that is pruned, from 0 to below 1")
        if self.end is not None and self.end <= self.begin:
            raise ValueError(f"begin={self.begin}, end={self.end}: pruning must end after it has begun")

    def target(self, updates: int) -> float:
        """Return the share that is pruned after so many updates.

        >>> [round(Magnitude(sparsity=0.8, begin=2, end=4).target(n), 3) for n in range(6)]
        [0.0, 0.0, 0.0, 0.7, 0.8, 0.8]
        """
        if updates < self.begin:
            return 0.0
        if self.end is None or updates >= self.end:
            return self.sparsity
        at = (updates - self.begin) // self.every * self.every / (self.end - self.begin)
        return self.sparsity * (1 - (1 - at) ** 3)

    def init(self, latents: Sequence[Tensor], rates: Sequence[float], factor: Factor | None) -> list[Memory]:
        blank: list[Memory] = [{"updates": 0, "mask": None} for _ in latents]
        return self._pruned(blank, latents, self.target(0))

    def advance(self, memories: Sequence[Memory], latents: Sequence[Tensor], rates: Sequence[float]) -> list[Memory]:
        before = [memory["updates"] for memory in memories]  # fewer where a parameter was frozen
        now = max(before, default=0) + 1
        later: list[Memory] = [{**memory, "updates": now} for memory in memories]
        target = self.target(now)
        return self._pruned(later, latents, target) if any(self.target(n) < target for n in before) else later

    def show(self, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        mask = memory["mask"]
        if mask is None:
            return latent.clone() if out is None else out.copy_(latent)
        return torch.mul(latent, mask, out=out)

    def _pruned(self, memories: Sequence[Memory], latents: Sequence[Tensor], target: float) -> list[Memory]:
        """Return the memories with masks that leave out a share of the weights, those pruned before among them."""
        if not target or not memories:
            return list(memories)
        sizes = [  # -1 for what is pruned already
            latent.abs() if memory["mask"] is None else latent.abs() * memory["mask"] + (memory["mask"] - 1)
            for memory, latent in zip(memories, latents, strict=True)
        ]
        if self.scope == "global":
            together = torch.cat([size.flatten() for size in sizes])
            parts = largest(together, target).split([size.numel() for size in sizes])
            masks = [part.view(size.shape) for part, size in zip(parts, sizes, strict=True)]
        else:
            masks = [largest(size.flatten(), target).view(size.shape) for size in sizes]
        return [{**memory, "mask": mask} for memory, mask in zip(memories, masks, strict=True)]


def largest(sizes: Tensor, pruned: float) -> Tensor:
    """Return a mask of the largest sizes, 1 for all but a share of them; of equal ones the last stay.

    >>> largest(torch.tensor([3.0, 1.0, 1.0, 2.0]), 0.5)
    tensor([1., 0., 0., 1.])
    """
    mask = torch.ones_like(sizes)  # numbers, by which torch multiplies faster than by truth values
    mask[sizes.argsort(stable=True)[: round(pruned * len(sizes))]] = 0
    return mask
