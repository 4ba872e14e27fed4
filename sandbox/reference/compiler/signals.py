"""Functions that a model brings along: stored signals, which are Brian2's TimedArrays, and functions in torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.functions import FUNCTIONS, RANDOM
from sandbox.reference.compiler.units import scale, symbols
from sandbox.reference.need import brian2


@dataclass(frozen=True, eq=False)
class Signal:
    """A TimedArray: `values` `[n]`, or `[n, cells]` for `I(t, i)`, in house units, each for `dt` seconds."""

    values: Tensor
    dt: float
    dim: Any

    @property
    def arity(self) -> int:
        """Number of arguments."""
        return self.values.ndim

    def at(self, dt: float) -> Callable[..., Tensor]:
        """Return the values as a function of the time [s] and the index, with the steps of Brian2 for a `dt` in ms."""
        parts = max(int(2 ** np.ceil(np.log2(8 / (dt * 1e-3) * self.dt))), 1)
        piece = self.dt / parts
        values = self.values

        def read(t: Tensor, i: Tensor | None = None) -> Tensor:
            step = torch.trunc(torch.round(torch.as_tensor(t) / piece) / parts).clamp(0, len(values) - 1).long()
            here = values.to(step.device)
            if i is None:
                return here[step]
            try:
                return here[step, i.long()].to(i.dtype)
            except IndexError:
                raise ValueError(
                    f"a TimedArray of {values.shape[1]} columns is read for cell {int(i.max())}: give it a column for "
                    f"each cell, or read another one, as in I(t, i % {values.shape[1]})"
                ) from None

        read.__name__ = "stored"
        return read

    def in_brian2(self) -> Any:
        """Return it as a TimedArray."""
        b2 = brian2()
        values = self.values.numpy() * scale(self.dim)
        return b2.TimedArray(b2.Quantity(values, dim=self.dim), dt=self.dt * b2.second)


@dataclass(frozen=True, eq=False)
class Own:
    """A function of numbers in house units as torch computes it; Brian2 sees its units alone, plain numbers if none."""

    function: Callable[..., Tensor]
    arity: int
    dims: tuple[Any, ...] = ()  # of the arguments and the result; none for plain numbers

    def at(self, dt: float) -> Callable[..., Tensor]:
        """Return the function."""
        return self.function

    def in_brian2(self) -> Any:
        """Return it as a function of Brian2, on quantities."""
        b2 = brian2()
        from brian2.units.fundamentalunits import get_unit

        dims = self.dims or (b2.get_dimensions(1.0),) * (self.arity + 1)
        *given, result = map(get_unit, dims)

        def run(*values: Any) -> Any:
            house = [np.asarray(value, float) / scale(dim) for value, dim in zip(values, dims, strict=False)]
            many = [torch.from_numpy(np.array(each)) for each in np.broadcast_arrays(*house)]
            return b2.Quantity(self.function(*many).detach().numpy() * scale(dims[-1]), dim=dims[-1])

        return b2.Function(run, arg_units=given, return_unit=result)


Brought = Signal | Own


def brought(namespace: Mapping[str, Any], functions: Mapping[str, Any] | None) -> dict[str, Brought]:
    """Return the signals of a namespace and the functions, by name.

    Raises:
        ValueError: for a name that is taken, and for what is not a function with plain arguments.
    """
    b2 = brian2()
    found: dict[str, Brought] = {}
    for name, value in namespace.items():
        if isinstance(value, Signal):
            found[name] = value
        elif isinstance(value, b2.TimedArray):
            values = torch.from_numpy(np.asarray(value.values, dtype=float) / scale(value.dim))
            found[name] = Signal(values, float(value.dt), value.dim)
    for name, function in (functions or {}).items():
        if isinstance(function, Own):
            found[name] = function
            continue
        found[name] = Own(function, _arity(name, function), _dims(name, namespace.get(name)))
    for name in functions or {}:
        if not grammar.NAME.fullmatch(name) or name in {*FUNCTIONS, *RANDOM, *symbols()}:
            raise ValueError(f"functions={{{name!r}: ...}}: the name is taken, or not valid; give another")
    return found


def _dims(name: str, seen: Any) -> tuple[Any, ...]:
    """Return the dimensions of a Brian2 function or of one with `check_units`: of its arguments and its result."""
    b2 = brian2()
    if not hasattr(seen, "_arg_units"):
        return ()
    units = [*seen._arg_units, seen._return_unit]
    if not all(isinstance(unit, b2.Quantity | int | float) for unit in units):
        raise ValueError(
            f"{name!r} in the namespace has units {units!r}: give one unit for each argument and the result"
        )
    return tuple(b2.get_dimensions(unit) for unit in units)


def _arity(name: str, function: Any) -> int:
    if not callable(function):
        raise ValueError(f"functions={{{name!r}: {function!r}}} is not a function; give one of torch tensors")
    try:
        plain = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1  # built in, as torch.erf
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = sum(each.kind in kinds and each.default is inspect.Parameter.empty for each in plain)
    if not count:
        raise ValueError(f"functions={{{name!r}: ...}} takes no plain argument; give one of torch tensors")
    return count
