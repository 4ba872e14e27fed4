"""What the programs of a neuron read beside its constants: its state, the clock, the index of a cell, conditions."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons.base import Value
from sandbox.neurons.dice import normal, uniform
from sandbox.reference.compiler.constants import written
from sandbox.reference.compiler.formula import Formula


@lru_cache(maxsize=256)
def state_class(variables: tuple[str, ...]) -> Any:
    """Make the NamedTuple of a compiled neuron's state: its variables, `wait`, `key` and `clock`."""
    names = (*variables, "wait", "key", "clock")
    plain: Any = namedtuple("CompiledState", names, defaults=(None, None, None))  # type: ignore[misc]

    class CompiledState(plain):  # type: ignore[misc,unused-ignore]
        __slots__ = ()

        def __reduce__(self) -> tuple[Any, ...]:
            return _state, (variables, tuple(self))

    return CompiledState


def _state(variables: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return state_class(variables)(*values)


def places(like: Tensor) -> dict[str, Any]:
    """Return the index of each cell `i` and their number `N`: of all axes but the first, samples, if there are two.

    >>> places(torch.zeros(2, 3))["i"].tolist(), places(torch.zeros(4))["N"]
    ([0.0, 1.0, 2.0], tensor(4.))
    """
    shape = like.shape[1:] if like.ndim > 1 else like.shape
    count = math.prod(shape)
    return {
        "i": torch.arange(count, dtype=like.dtype, device=like.device).reshape(shape),
        "N": torch.full((), count, dtype=like.dtype, device=like.device),
    }


def started(
    name: str,
    start: Value | str,
    kind: str | None,
    parameters: Mapping[str, Value],
    shape: tuple[int, ...],
    like: Tensor | None,
    stream: int,
) -> Value:
    """Return initial values, of a variable of a kind; of text over constants, and perhaps `i`, `N` and draws.

    Raises:
        ValueError: for values of each cell where there are other cells.
    """
    if isinstance(start, str):
        start = _evaluated(written(start), parameters, shape, like, stream)
    if kind is not None:
        start = as_kind(kind, torch.as_tensor(start, dtype=torch.float64))
    if not isinstance(start, Tensor) or like is None:
        return start
    if any(
        have != 1 and want not in (1, have)
        for have, want in zip(start.shape[::-1], (*shape[::-1], *[1] * start.ndim), strict=False)
    ):
        raise ValueError(
            f"initial {name} has values of shape {list(start.shape)}, and the cells {list(shape)}: give as many, a "
            "number, or text over i"
        )
    return start.to(like)


def _evaluated(
    formula: Formula, parameters: Mapping[str, Value], shape: tuple[int, ...], like: Tensor | None, stream: int
) -> Value:
    if not formula.names - parameters.keys():
        return formula(parameters)
    every = torch.zeros(shape, dtype=torch.float64, device=None if like is None else like.device)
    key = torch.zeros((), dtype=torch.int64, device=every.device)
    drawn = {"rand_drawn": uniform(key, every, stream), "randn_drawn": normal(key, every, stream)}
    return formula({**parameters, **drawn, **places(every)})


def require_cells(neuron: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError for a constant or an initial value of more than one number that does not fit cells `[...]`.

    A single cell fits all: of it programs are written, and a step gives it the shape of the constants.
    """
    if math.prod(shape) == 1:
        return
    for name, value in (*neuron.parameters.items(), *neuron.starts.items()):
        if not isinstance(value, Tensor) or value.numel() == 1:
            continue
        try:
            fits = torch.broadcast_shapes(value.shape, shape) == shape
        except RuntimeError:
            fits = False
        if not fits:
            what = f"initial {name}" if name in neuron.starts else name
            raise ValueError(
                f"{what} has a value for each of {value.shape[-1]} cells, in shape {tuple(value.shape)}, and there are "
                f"{shape[-1]}, in shape {shape}: give one number, or one for each cell"
            )


@contextmanager
def of_cells(neuron: Any, like: Tensor) -> Iterator[None]:
    """Say which constant does not fit cells like these, where PyTorch says that two sizes differ."""
    try:
        yield
    except RuntimeError:
        require_cells(neuron, tuple(like.shape))
        raise


def as_kind(kind: str, value: Tensor) -> Tensor:
    """Return values as a variable of whole numbers or truth values holds them."""
    return torch.trunc(value) if kind == "integer" else (value != 0).to(value.dtype)


CLOCKS: dict[str, Callable[[Any, float], Tensor]] = {
    "t": lambda state, dt: (state.clock.double() * dt).to(state[0].dtype),
    "t_in_timesteps": lambda state, dt: state.clock.to(state[0].dtype),
    "t_si": lambda state, dt: state.clock.double() * (dt * 1e-3),  # as Brian2 has it, for comparisons
    "lastspike_si": lambda state, dt: torch.round(state.lastspike.double() / dt) * (dt * 1e-3),
}


def any_of(values: Iterable[Any]) -> bool:
    """Return whether one of the values is not None."""
    return any(value is not None for value in values)


class Gated:
    """A surrogate whose spike requires a further condition."""

    def __init__(self, surrogate: Surrogate, gate: Tensor) -> None:
        self.surrogate, self.gate = surrogate, gate

    def spike(self, u: Tensor, strict: bool = False) -> Tensor:
        return self.surrogate.spike(u, strict) * self.gate


class Exact:
    """A surrogate whose spike is a condition, and whose derivative is that of a difference."""

    def __init__(self, surrogate: Surrogate, holds: Tensor) -> None:
        self.surrogate, self.holds = surrogate, holds

    def spike(self, u: Tensor, strict: bool = False) -> Tensor:
        smooth = self.surrogate.spike(u, strict)
        return smooth + (self.holds.to(smooth.dtype) - smooth).detach()


def number_of(value: Value) -> float:
    """Return a number, or the mean of a tensor."""
    return float(value.detach().double().mean() if isinstance(value, Tensor) else value)
