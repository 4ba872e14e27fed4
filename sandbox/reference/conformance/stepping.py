"""A cell as a black box: one function that takes a step, and runs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sandbox.neurons.cell import Cell


class Step(Protocol):
    """Anybody's cell: `(spikes, state)` or `(spikes, v, state)` of a current and the state before.

        current  `[N]` [nA], constant within the step, one number for each cell
        state    None before the first step, from rest; then what the call before returned, whatever that is
        spikes   `[N]` numbers of spikes, 0 or 1 for most cells; the output of a cell that never fires
        v        `[N]` membrane potential [mV] as the cell shows it after the step

    A cell that keeps its state inside starts anew where `state` is None; it must then take any N. Nothing else is asked
    of it: no threshold, no reset, no name.
    """

    def __call__(self, current: Tensor, state: Any) -> tuple[Any, ...]:
        """Take one step."""


@dataclass(frozen=True)
class Response:
    """What a black box answered: spikes `[T, N]`, and its membrane `[T, N]` [mV] or None where it shows none."""

    spikes: Tensor
    v: Tensor | None

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that the cell shows: that of its membrane, else of its spikes."""
        shown = (self.spikes if self.v is None else self.v).dtype
        return shown if shown.is_floating_point else torch.float64


def respond(step: Step, currents: Tensor) -> Response:
    """Run a black box from rest, without gradients.

    Args:
        step: the black box.
        currents: `[T, N]` [nA].

    Raises:
        ValueError: for an answer that is not `(spikes, state)` or `(spikes, v, state)` with `[N]` numbers each.

    >>> def integrate(current, state):
    ...     v = current if state is None else state + current
    ...     return (v >= 1).double(), v, v * (v < 1)
    >>> respond(integrate, torch.full((4, 1), 0.5, dtype=torch.float64)).spikes.flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    rows, state, count = [], None, currents.shape[1:]
    with torch.no_grad():
        for current in currents:
            *shown, state = _answer(step(current, state))
            rows.append([_row(value, name, count) for value, name in zip(shown, ("spikes", "v"), strict=False)])
    if len({len(row) for row in rows}) > 1:
        raise ValueError("step returned v in some steps and none in others: return (spikes, v, state) in each")
    spikes, *membrane = (torch.stack(column) for column in zip(*rows, strict=True))
    return Response(spikes, membrane[0] if membrane else None)


def stepper(cell: Cell, dt: float) -> Step:
    """Return the step of a cell of the sandbox as a black box, its membrane shown after the reset.

    >>> from sandbox.neurons import LIF
    >>> spikes, v, _ = stepper(LIF(tau_mem=10.0), dt=10.0)(torch.ones(1, dtype=torch.float64), None)
    >>> spikes.tolist(), round(float(v), 4)
    ([0.0], 0.6321)
    """

    def step(current: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        state = cell.initial_state(current.shape, current) if state is None else state
        spikes, state = cell.step(current, state, dt)
        return spikes, getattr(state, getattr(cell, "membrane", "v")), state

    return step


def _answer(answer: Any) -> tuple[Any, ...]:
    if isinstance(answer, tuple) and len(answer) in (2, 3):
        return answer
    what = f"{len(answer)} values" if isinstance(answer, tuple) else f"a {type(answer).__name__}"
    raise ValueError(f"step returned {what}: return (spikes, state) or (spikes, v, state)")


def _row(value: Any, name: str, shape: torch.Size) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != shape:
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"
        raise ValueError(
            f"step returned {name} of {found} for currents of shape {tuple(shape)}: return a tensor with one number "
            "for each cell"
        )
    return value.detach().clone()
