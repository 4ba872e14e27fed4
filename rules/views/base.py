"""What a view is: a batch seen another way, with dice that are handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class View(Protocol):
    """A sequence `[T, B, *features]` to one of the same shape and dtype, every sample with a draw of its own.

    `x` is not changed, and a draw holds for every step of its sample unless the view says otherwise.
    """

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch as this view shows it."""


@dataclass(frozen=True)
class Identity:
    """Shows the batch as it is.

    >>> x = torch.rand(4, 2, 3)
    >>> Identity()(x, torch.Generator()) is x
    True
    """

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return x


@dataclass(frozen=True)
class Compose:
    """One view after the other: `x -> views[-1](... views[0](x))`, all from the same dice.

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
    """Raise ValueError with the view's settings and what was wanted of them."""
    if not fits:
        raise ValueError(f"{view}: {wanted}")


def whole(value: Any, least: int = 0) -> bool:
    """Whether a setting is a whole number of at least so much."""
    return isinstance(value, int) and value >= least


def chance(value: float) -> bool:
    """Whether a setting is a probability; NaN is none."""
    return 0 <= value <= 1


def uniform(generator: torch.Generator, x: Tensor, *shape: int) -> Tensor:
    """Numbers in 0..1 where `x` lives, drawn where the dice live: a seed shows the same view on every device."""
    return torch.rand(shape, generator=generator, device=generator.device).to(x.device)


def integers(generator: torch.Generator, x: Tensor, low: int, high: int, *shape: int) -> Tensor:
    """Whole numbers from `low` to `high`, both included."""
    return torch.randint(low, high + 1, shape, generator=generator, device=generator.device).to(x.device)


def still(change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`change(x)` for a change that is the same at every step; what is constant in time is changed once.

    A network weighs an input with `x.stride(0) == 0` once, so the answer keeps that.

    >>> still(torch.neg, torch.ones(1, 2, 3).expand(5, 2, 3)).stride(0)
    0
    """
    if len(x) > 1 and x.stride(0) == 0:
        return change(x[:1]).expand_as(x)
    return change(x)
