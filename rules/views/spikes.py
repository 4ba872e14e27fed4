"""Views of spike trains: rolled, shifted in time, thinned, or moved to a neighbouring channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rules.fields import check_fields
from rules.views.base import chance, integers, require, still, uniform, whole


def trains(x: Tensor, view: object) -> None:
    """Raise ValueError for anything but units `[T, B, N]` or event images `[T, B, C, H, W]`."""
    if x.ndim not in (3, 5):
        raise ValueError(
            f"{view} needs spike trains [T, B, N] or [T, B, C, H, W]; this input is {tuple(x.shape)}: "
            "flatten or unflatten its features"
        )


@dataclass(frozen=True)
class Roll:
    """A circular shift of the units `[T, B, N]`, or of height and width `[T, B, C, H, W]`: no spike is lost.

    Args:
        shift: every sample shifts by a whole number uniform on `-shift..shift`, drawn separately for height and width.

    Raises:
        ValueError: for a negative shift; when called, for other ranks.

    >>> float(Roll(shift=3)(torch.eye(4).view(4, 1, 4), torch.Generator().manual_seed(0)).sum())
    4.0
    """

    shift: int = 2

    def __post_init__(self) -> None:
        check_fields(self)
        require(whole(self.shift), self, "shift is a whole number of units or pixels, at least 0")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        trains(x, self)
        axes = (2,) if x.ndim == 3 else (3, 4)
        shifts = integers(generator, x, -self.shift, self.shift, len(axes), x.shape[1])  # [axes, B]

        def roll(x: Tensor) -> Tensor:
            for axis, by in zip(axes, shifts, strict=True):
                source = (torch.arange(x.shape[axis], device=x.device) - by[:, None]) % x.shape[axis]  # [B, n]
                beside = source.view(1, len(by), *[1] * (axis - 2), -1, *[1] * (x.ndim - 1 - axis))
                x = x.gather(axis, beside.expand_as(x))
            return x

        return still(roll, x)


@dataclass(frozen=True)
class TimeShift:
    """A shift in time of a sample's whole train; spikes shifted out are lost, and the gap is filled with silence.

    Args:
        steps: every sample shifts by a whole number of steps uniform on `-steps..steps`.

    Raises:
        ValueError: for negative steps; when called, for as many steps as the train has.

    >>> late = TimeShift(steps=1)(torch.ones(4, 8, 1), torch.Generator().manual_seed(0))
    >>> sorted(set(late.sum(0).flatten().tolist()))
    [3.0, 4.0]
    """

    steps: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(whole(self.steps), self, "steps is a whole number of time steps, at least 0")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        trains(x, self)
        length = len(x)
        if self.steps >= length:
            raise ValueError(f"{self} can empty trains of {length} steps; give fewer steps than the trains have")
        by = integers(generator, x, -self.steps, self.steps, x.shape[1])  # [B]
        source = torch.arange(length, device=x.device)[:, None] - by  # [T, B]
        shown = x[source.clamp(0, length - 1), torch.arange(x.shape[1], device=x.device)]
        silent = (source < 0) | (source >= length)
        return shown.masked_fill(silent.view(*silent.shape, *[1] * (x.ndim - 2)), 0)


@dataclass(frozen=True)
class EventDrop:
    """A random loss of events, each independent of all others, with a new draw at every step.

    Args:
        probability: of losing an event, 0.1 by default.

    Raises:
        ValueError: for a probability outside 0..1.

    >>> float(EventDrop(probability=1.0)(torch.ones(4, 2, 3), torch.Generator()).sum())
    0.0

    Reference: Gu et al. 2021 (arXiv 2106.05836), its random drop.
    """

    probability: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        require(chance(self.probability), self, "give a probability between 0 and 1")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        trains(x, self)
        return x.masked_fill(uniform(generator, x, *x.shape) < self.probability, 0)


@dataclass(frozen=True)
class ChannelJitter:
    """A move of events to another channel: a near unit in `[T, B, N]`, the other polarity in `[T, B, 2, H, W]`.

    Units: every event moves by its own draw, and stops at the first and the last unit. Events that coincide become one,
    so spikes stay 0 or 1 and their count may fall. Polarities: a sample has both swapped, at all its steps.

    Args:
        reach: units by which an event moves, uniform on `-reach..reach`.
        swap: probability of swapping the polarities of a sample.

    Raises:
        ValueError: for a negative reach or a probability outside 0..1; when called, for other shapes, and for units
            that contain anything but 0 and 1.

    >>> x = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1, 1)
    >>> ChannelJitter(swap=1.0)(x, torch.Generator()).flatten().tolist()
    [0.0, 1.0]
    """

    reach: int = 1
    swap: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self)
        require(whole(self.reach), self, "reach is a whole number of units, at least 0")
        require(chance(self.swap), self, "swap is a probability between 0 and 1")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        trains(x, self)
        return self._moved(x, generator) if x.ndim == 3 else self._swapped(x, generator)

    def _moved(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(
                f"{self} needs spikes of 0 and 1; this input holds other numbers: encode it first, "
                "or use the pair 'vector'"
            )
        step, sample, unit = x.nonzero(as_tuple=True)
        by = integers(generator, x, -self.reach, self.reach, len(unit))
        out = torch.zeros(x.shape, dtype=x.dtype, device=x.device)  # zeros_like keeps a stride of 0
        out[step, sample, (unit + by).clamp(0, x.shape[2] - 1)] = 1
        return out

    def _swapped(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if x.shape[2] != 2:
            raise ValueError(
                f"{self} needs two polarities [T, B, 2, H, W]; this input is {tuple(x.shape)}: "
                "leave the channel jitter out"
            )
        swapped = (uniform(generator, x, x.shape[1]) < self.swap).view(-1, 1, 1, 1)
        return still(lambda x: torch.where(swapped, x.flip(2), x), x)
