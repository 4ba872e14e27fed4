"""Zoneout of attended terms, a regulariser of the pass forward: weak steps and channels keep their value of before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rules.fields import at_least, check_fields


class Places(NamedTuple):
    """Where one scale is replaced: every pair of these steps, the first one left out, and these channels."""

    steps: Tensor
    channels: Tensor


@dataclass(frozen=True)
class ZoneOut(ABC):
    """Base class of zoneouts, which `MultiscaleAttention` applies in training.

    Args:
        steps: a share of 1 / steps of the steps is chosen, rounded down, 4 by default.
        channels: a share of 1 / channels of the channels is chosen, rounded down, 4 by default.

    Raises:
        ValueError: for a number below 1.
    """

    steps: int = 4
    channels: int = 4

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(1, self, "steps", "channels")

    @abstractmethod
    def places(self, time: Tensor, channel: Tensor) -> Places:
        """Choose places of one scale.

        Args:
            time: weights of its steps, `[T, B]`.
            channel: weights of its channels, `[T, B, C]`.
        """


@dataclass(frozen=True)
class AZO(ZoneOut):
    """Attention zoneout: the steps, and within them the channels, of the smallest attention.

        steps      the floor(T / steps) smallest of sum_b time[t, b]
        channels   the floor(C / channels) smallest of sum_t sum_b channel[t, b, c], over these steps

    Nothing is drawn. Equal weights are chosen in their order.

    >>> AZO(steps=2, channels=2).places(torch.tensor([[3.0], [1.0], [0.0], [2.0]]), torch.ones(4, 1, 2))
    Places(steps=tensor([1, 2]), channels=tensor([0]))

    Reference: Shan et al. 2025 (arXiv 2405.13672), from the authors' code.
    """

    def places(self, time: Tensor, channel: Tensor) -> Places:
        """Return the weakest places."""
        steps = smallest(time.detach().sum(1), len(time) // self.steps)
        shown = channel.detach()[steps].sum((0, 1))
        return Places(steps, smallest(shown, len(shown) // self.channels))


@dataclass(frozen=True)
class RandomZoneOut(ZoneOut):
    """As many places as `AZO` replaces, drawn from torch's global generator as dropout does; to compare with.

    >>> RandomZoneOut(steps=4).places(torch.ones(4, 1), torch.ones(4, 1, 8)).channels.shape
    torch.Size([2])

    Reference: Krueger et al. 2017 (arXiv 1606.01305) for zoneout; places shared by a batch are ours.
    """

    def places(self, time: Tensor, channel: Tensor) -> Places:
        """Return random places."""
        units = channel.shape[2]
        steps = torch.randperm(len(time))[: len(time) // self.steps].sort().values
        return Places(steps, torch.randperm(units)[: units // self.channels].sort().values)


def smallest(values: Tensor, count: int) -> Tensor:
    """Return the indices of the smallest values, in their order; of equal ones the first."""
    return torch.argsort(values, stable=True)[:count].sort().values


def zoned(term: Tensor, places: Places) -> Tensor:
    """Return a term `[T, B, C, ...]` in which chosen places have the value of the step before, which is not replaced.

    Errors reach the values that are copied, and not those that are overwritten. The first step has none before it, so
    that a term whose only step is the first one stays as it is.

    >>> zoned(torch.arange(3.0).reshape(3, 1, 1), Places(torch.tensor([0, 1, 2]), torch.tensor([0]))).flatten()
    tensor([0., 0., 1.])
    """
    steps = places.steps[places.steps > 0]
    if not len(steps) or not len(places.channels):
        return term
    chosen = torch.zeros(term.shape[0], 1, term.shape[2], dtype=torch.bool)
    chosen[steps[:, None], 0, places.channels] = True
    before = torch.cat([term[:1], term[:-1]])
    return torch.where(chosen.reshape(*chosen.shape, *[1] * (term.ndim - 3)).to(term.device), before, term)


ZONEOUTS: dict[str, type[ZoneOut]] = {"azo": AZO, "random": RandomZoneOut}
