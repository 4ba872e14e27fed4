"""A neuron: state, the equations Brian2 runs, and the step that torch differentiates, side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


class Neuron(ABC):
    """A frozen dataclass of parameters; every `step` takes the state and returns the next one.

    `equations`, `threshold`, `reset_code` and `method` are what Brian2 runs, with the input called `current`; `units`
    names the Brian2 unit of each parameter and variable that the equations mention.
    """

    equations: ClassVar[str]
    method: ClassVar[str]
    units: ClassVar[dict[str, str]]
    spiking: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True

    threshold: str | None = None
    reset_code: str | None = None
    t_refractory: float = 0.0  # [ms]

    @abstractmethod
    def initial_state(self, shape: Iterable[int], like: Tensor) -> Any:
        """Rest, for cells of this shape, with the dtype and device of `like`."""

    @abstractmethod
    def integrate(self, current: Tensor, state: Any, dt: float) -> Any:
        """The state after `dt` ms of a constant current, before threshold and reset."""

    @abstractmethod
    def fire(self, state: Any, dt: float) -> tuple[Tensor, Any]:
        """What the cell puts out, and the state after the reset."""

    @abstractmethod
    def centred(self, state: Any) -> Tensor:
        """Membrane minus threshold [mV]."""

    def step(self, current: Tensor, state: Any, dt: float) -> tuple[Tensor, Any]:
        """One time step: output `[...]` and the next state, for a current `[...]` in nA and `dt` in ms."""
        return self.fire(self.integrate(current, state, dt), dt)

    @property
    def swing(self) -> float:
        """A voltage [mV] by which currents and surrogates are scaled: from rest to threshold where there is one."""
        return 1.0


def affine(x: Tensor, factor: float, offset: float = 0.0) -> Tensor:
    """`factor x + offset` without the passes through memory that a factor of one or an offset of zero would cost."""
    scaled = x if factor == 1.0 else x * factor
    return scaled if offset == 0.0 else scaled + offset


def loop(
    step: Callable[[Tensor, Any], tuple[tuple[Tensor, ...], Any]], inputs: Tensor, carry: Any
) -> tuple[tuple[Tensor, ...], Any]:
    """The only time loop: `(outputs), carry = step(input, carry)` for every step, the outputs stacked along time."""
    rows = []
    for x in inputs.unbind(0):
        outputs, carry = step(x, carry)
        rows.append(outputs)
    return tuple(torch.stack(column) for column in zip(*rows, strict=True)), carry


def scan(neuron: Neuron, currents: Tensor, state: Any = None, dt: float = 1.0) -> tuple[Tensor, Any]:
    """Run a neuron over a sequence of currents.

    Arguments: currents `[T, ...]` in nA, a state to continue from, `dt` in ms. Returns outputs `[T, ...]` and the last
    state; handing that state back continues exactly. Raises ValueError for an empty sequence or `dt <= 0`.

    >>> from sandbox.neurons import LIF
    >>> spikes, state = scan(LIF(tau_mem=10.0), torch.full((50, 1), 1.5))
    >>> int(spikes.sum())
    4
    """
    _check(currents, dt)
    start = neuron.initial_state(currents.shape[1:], currents) if state is None else state

    def one(current: Tensor, carry: Any) -> tuple[tuple[Tensor, ...], Any]:
        output, carry = neuron.step(current, carry, dt)
        return (output,), carry

    (outputs,), end = loop(one, currents, start)
    return outputs, end


@dataclass(frozen=True)
class Trajectory:
    """What a simulation recorded: `spikes`, and each recorded variable under its own name, `[T, ...]`."""

    spikes: Tensor
    variables: dict[str, Tensor]
    dt: float  # [ms]

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["variables"][name]  # type: ignore[no-any-return]
        except KeyError:
            recorded = ", ".join(self.__dict__.get("variables", {})) or "nothing"
            raise AttributeError(f"{name!r} was not recorded (recorded: {recorded}); pass record=({name!r},)") from None

    @property
    def t(self) -> Tensor:
        """The end of each step [ms]."""
        return torch.arange(1, len(self.spikes) + 1, dtype=torch.float64) * self.dt


def simulate(neuron: Neuron, currents: Tensor, dt: float = 1.0, record: tuple[str, ...] = ("v",)) -> Trajectory:
    """Run a neuron and keep its variables as they stand at the end of each step, after the reset.

    Arguments: currents `[T, ...]` in nA, `dt` in ms, names of state variables. Raises ValueError for a variable that
    the neuron's state does not have.

    >>> from sandbox.neurons import LIF
    >>> round(float(simulate(LIF(tau_mem=10.0), torch.full((10, 1), 0.5)).v[-1]), 4)  # 0.5 (1 - exp(-1))
    0.3161
    """
    _check(currents, dt)
    start = neuron.initial_state(currents.shape[1:], currents)
    legal = [name for name, value in zip(type(start)._fields, start, strict=True) if value is not None]
    for name in record:
        if name not in legal:
            raise ValueError(f"{type(neuron).__name__} has no variable {name!r}; it has: {', '.join(legal)}")

    def one(current: Tensor, carry: Any) -> tuple[tuple[Tensor, ...], Any]:
        output, carry = neuron.step(current, carry, dt)
        return (output, *(getattr(carry, name) for name in record)), carry

    (spikes, *rows), _ = loop(one, currents, start)
    return Trajectory(spikes, dict(zip(record, rows, strict=True)), dt)


def _check(currents: Tensor, dt: float) -> None:
    if currents.ndim == 0 or len(currents) == 0:
        raise ValueError(f"currents have shape {tuple(currents.shape)}; wanted [T, ...] with at least one step")
    if not dt > 0:
        raise ValueError(f"dt={dt}: give a positive time step in ms")
