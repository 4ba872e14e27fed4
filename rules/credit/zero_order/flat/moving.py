"""Weights that are moved along random directions, in place, and restored to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import torch
from torch import Tensor

from rules.credit.zero_order.draws import normal_like, signs_like
from rules.credit.zero_order.sharing import generator

Draw = Callable[[Tensor, torch.Generator], Tensor]
DIRECTIONS: dict[str, Draw] = {"normal": normal_like, "rademacher": signs_like}  # both with E[z z^T] = 1


class Moved:
    """A context in which weights can be moved along directions; they are restored at the end, also after an exception.

    A direction is regenerated from its seed whenever it is needed, and never stored for more than one parameter. One
    copy of the weights is stored, because adding and subtracting a step does not restore the same bits; `become` turns
    the memory of that copy into the gradient.

    Args:
        parameters: by name.
        draw: of a direction.
        scales: of each parameter's directions.

    >>> weight = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> with Moved({"weight": weight}, normal_like, {"weight": 1.0}) as moved:
    ...     moved.to(seed=3, step=0.1)
    ...     there = weight.tolist()
    >>> weight.tolist(), there != [1.0, 2.0]
    ([1.0, 2.0], True)
    """

    def __init__(self, parameters: Mapping[str, Tensor], draw: Draw, scales: Mapping[str, float]) -> None:
        self.parameters, self.draw, self.scales = parameters, draw, scales
        self.kept: dict[str, Tensor] = {}

    def __enter__(self) -> Moved:
        self.kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, p in self.parameters.items():
            p.data.copy_(self.kept[name])

    def passing(self) -> AbstractContextManager[None]:
        """Return a context for one pass."""
        return nullcontext()

    def to(self, seed: int, step: float) -> None:
        """Set the weights to their original values plus `step` times scale times the direction of a seed."""
        for name, z in self.directions(seed):
            self.parameters[name].data.copy_(self.kept[name]).add_(z, alpha=step * self.scales[name])

    def directions(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the direction of a seed, one parameter at a time."""
        rng = generator(seed)
        return ((name, self.draw(kept, rng)) for name, kept in self.kept.items())

    @property
    def sizes(self) -> tuple[int, int] | None:
        """How many numbers a direction has, and multiplications to add it; None for one for each weight."""
        return None

    def become(self, numbers: Sequence[int], factors: Tensor) -> dict[str, Tensor]:
        """Return `sum_k factors[k] z_k / scale` over the directions of these seeds, in memory of the stored weights."""
        for kept in self.kept.values():
            kept.zero_()
        for seed, factor in zip(numbers, factors.tolist(), strict=True):
            for name, z in self.directions(seed):
                self.kept[name].add_(z, alpha=factor / self.scales[name])
        return self.kept


def require_visible(name: str, step: float, parameters: Mapping[str, Tensor], scales: Mapping[str, float]) -> None:
    """Raise ValueError for a step that rounding removes when, times its scale, it is added to the largest weight."""
    for parameter, p in parameters.items():
        largest = float(p.detach().abs().max()) if p.numel() else 0.0
        bound = torch.finfo(p.dtype).eps * largest / scales[parameter]
        if step < bound:
            raise ValueError(
                f"{name}={step:g}: such a step vanishes in {p.dtype} beside weights of up to {largest:.3g} in "
                f"{parameter}; give more than {bound:.1e}"
            )


def require_number(name: str, value: float) -> None:
    """Raise ValueError for a step that is not above 0."""
    if not value > 0:
        raise ValueError(f"{name}={value}: give a number above 0")


def require_size(name: str, value: float | None, relative: bool) -> None:
    """Raise ValueError for a step that is not above 0, or not given in units that have no default."""
    if value is not None:
        require_number(name, value)
    elif not relative:
        raise ValueError(f"relative=False without {name}: absolute units have no default, so give {name} too")


def require_rank(rank: int | None) -> None:
    """Raise ValueError for a rank below one."""
    if rank is not None and rank < 1:
        raise ValueError(f"rank={rank}: give a whole number, at least 1, or None for directions of whole matrices")


def require_draws(name: str, value: int) -> None:
    """Raise ValueError for fewer than one draw."""
    if value < 1:
        raise ValueError(f"{name}={value}: give a whole number, at least 1")
