"""A program: a flat list of torch operations on registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
