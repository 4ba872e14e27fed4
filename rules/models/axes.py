"""The time and batch axes of whatever goes into a model: a tensor, or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def timed(value: Any) -> bool:
    """Return whether a tensor has a time axis: more than two axes, or two of whole numbers such as tokens."""
    return isinstance(value, Tensor) and (value.ndim > 2 or (value.ndim == 2 and not value.is_floating_point()))


def turned(value: Any) -> Any:
    """Return a tensor with time and batch exchanged, if it has both; anything else unchanged."""
    return value.transpose(0, 1) if timed(value) else value


def at(value: Any, t: int, steps: int) -> Any:
    """Return one step of a sequence; anything else unchanged."""
    return value[t] if timed(value) and len(value) == steps else value


def doubled(x: Any) -> Any:
    """Return an input of one step twice, because one step does not show whether a model loops."""
    if isinstance(x, Tensor):
        return torch.cat([x, x]) if timed(x) and len(x) == 1 else x
    if isinstance(x, dict):
        return {name: doubled(value) for name, value in x.items()}
    return type(x)(doubled(value) for value in x) if isinstance(x, (tuple, list)) else x


def unsqueezed(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return `[B, features]` as a sequence of one step."""
    return tuple(map(one_step, args)), {name: one_step(value) for name, value in kwargs.items()}


def one_step(value: Any) -> Any:
    """Return a tensor `[B, features]` with a time axis of length 1 before it; anything else unchanged."""
    return value[None] if isinstance(value, Tensor) and value.ndim == 2 else value


def flat(value: Any) -> Any:
    """Return `[T, B, ...]` as `[B T, ...]`, if it has time and batch; anything else unchanged."""
    return turned(value).flatten(0, 1) if timed(value) else value
