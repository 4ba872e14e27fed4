"""A program: a flat list of torch operations on registers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Register(NamedTuple):
    """Place of a tensor: a named input, a constant, or the result of a row."""

    kind: str
    at: int


@dataclass(frozen=True)
class Program:
    """Rows `(function, registers)`; registers are the `inputs`, then constants, then the results of earlier rows."""

    reads: tuple[str, ...]  # the names of the inputs that it uses
    extra: tuple[str, ...]  # those that come after the given ones
    constants: tuple[Any, ...]
    rows: tuple[tuple[Callable[..., Tensor], Callable[..., Any]], ...]
    outputs: tuple[int, ...]
    lines: tuple[str, ...]

    def __call__(self, inputs: Sequence[Any]) -> list[Tensor]:
        registers = [*inputs, *self.constants]
        append = registers.append
        for function, arguments in self.rows:
            append(function(*arguments(registers)))
        return [registers[i] for i in self.outputs]


def fits(dtype: torch.dtype, value: Any) -> None:
    """Raise ValueError for a number that overflows in the dtype of a step, which only float16 makes likely."""
    top = torch.finfo(dtype).max
    if dtype == torch.float16 and isinstance(value, float) and top < abs(value) < math.inf:
        raise ValueError(
            f"a constant of this model is {value:g} in house units, and {dtype} ends at {top:g}: use torch.bfloat16 or "
            "torch.float32"
        )


def getter(indices: list[int]) -> Callable[..., Any]:
    """Return a getter of a row's arguments, as a sequence."""
    return itemgetter(slice(indices[0], indices[0] + 1)) if len(indices) == 1 else itemgetter(*indices)
