"""The interface of a view, a random change of a batch with a generator as argument, and shared helpers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from rules import draws


class View(Protocol):
    """A function from `[T, B, *features]` to the same shape and dtype, with a separate draw for every sample.

    `x` itself is not changed. A draw applies to all steps of its sample unless the view documents otherwise.
    """

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the changed batch."""


@dataclass(frozen=True)
class Identity:
    """Returns the batch unchanged.

    >>> x = torch.rand(4, 2, 3)
    >>> Identity()(x, torch.Generator()) is x
    True
    """

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x


@dataclass(frozen=True)
class Compose:
    """Several views in sequence, `x -> views[-1](... views[0](x))`, with one generator.

    Raises ValueError for anything but a tuple of views.

    >>> Compose((Identity(), Identity()))(torch.ones(4, 2, 3), torch.Generator()).shape
    torch.Size([4, 2, 3])
    """

    views: tuple[View, ...]

    def __post_init__(self) -> None:
        fits = isinstance(self.views, tuple) and all(callable(view) for view in self.views)
        require(fits, self, "give a tuple of views, such as (RandomCrop(4), RandomFlip())")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        for view in self.views:
            x = view(x, generator)
        return x


def require(fits: bool, view: object, wanted: str) -> None:
    """Raise ValueError, with the view's settings and what is wanted, unless `fits`."""
    if not fits:
        raise ValueError(f"{view}: {wanted}")


def whole(value: Any, least: int = 0) -> bool:
    """Return whether a setting is a whole number of at least `least`."""
    return isinstance(value, int) and value >= least


def chance(value: float) -> bool:
    """Return whether a setting is a probability; False for NaN."""
    return 0 <= value <= 1


def uniform(generator: torch.Generator, x: Tensor, *shape: int) -> Tensor:
    """Draw numbers in 0..1 on the generator's device and move them to that of `x`: the same for x on any device."""
    return draws.uniform(shape, generator, x.new_empty(0, dtype=torch.float32))


def integers(generator: torch.Generator, x: Tensor, low: int, high: int, *shape: int) -> Tensor:
    """Draw whole numbers from `low` to `high`, both included."""
    return draws.integers(low, high + 1, shape, generator, x)


def still(change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return `change(x)` for a change that is the same at every step; an input constant in time is changed once.

    The result keeps `x.stride(0) == 0`, because a network multiplies such an input by its weights only once.

    >>> still(torch.neg, torch.ones(1, 2, 3).expand(5, 2, 3)).stride(0)
    0
    """
    if len(x) > 1 and x.stride(0) == 0:
        return change(x[:1]).expand_as(x)
    return change(x)
