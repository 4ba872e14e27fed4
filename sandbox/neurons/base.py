"""The base class of neurons: the equations Brian2 runs, and the step torch differentiates."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from sandbox.machine.compiled import settled
from sandbox.neurons.cell import Cell, Value, smallest
from sandbox.neurons.loop import advance, loop

__all__ = ["Neuron", "Value", "affine", "decay", "full", "smallest", "span", "toward"]

N = TypeVar("N", bound="Neuron")
NUMBER = (float, int)  # checked in every step; faster than isinstance(value, Tensor)


class Neuron(Cell):
    """Base class of cells whose `step` takes a state and returns the next one.

    Attributes:
        equations: the equations Brian2 runs, as are `threshold`, `reset_code` and `refractory`; the input is `current`.
        method: Brian2's name of the numerical scheme.
    """

    method: ClassVar[str]

    @property
    def threshold(self) -> str | None:
        """Brian2's condition for a spike; None for a cell that never fires."""
        return None

    @property
    def reset_code(self) -> str | None:
        """Brian2's statements after a spike."""
        return None

    @property
    def membrane(self) -> str:
        """The variable that is the membrane."""
        return "v"

    @property
    def clamped(self) -> frozenset[str]:
        """The variables that are held while a cell is refractory, the step of its spike included.

        >>> from sandbox.neurons import CubaLIF
        >>> sorted(CubaLIF().clamped)
        ['v']
        """
        return frozenset(re.findall(r"^\s*d(\w+)\s*/\s*dt.*\(.*unless refractory.*\)", self.equations, re.MULTILINE))

    @property
    def refractory(self) -> str | None:
        """Brian2's condition that keeps a cell refractory; None if t_refractory decides."""
        return None

    @abstractmethod
    def integrate(self, current: Tensor, state: Any, dt: float) -> Any:
        """Return the state after `dt` ms of a constant current [nA], before threshold and reset."""

    @abstractmethod
    def fire(self, state: Any, dt: float) -> tuple[Tensor, Any]:
        """Return the output and the state after the reset."""

    @abstractmethod
    def centred(self, state: Any) -> Tensor:
        """Return membrane minus threshold [mV]."""

    def step(self, current: Tensor, state: Any, dt: float) -> tuple[Tensor, Any]:
        """Take one time step, as `Cell.step`: integrate, then fire."""
        return self.fire(self.integrate(current, state, dt), dt)

    @settled
    def kernel_when_compiled(self, prepare: Callable[..., Any], *how: Any) -> Any:
        """Return `prepare(self, *how)`, computed once while torch.compile traces; the kernels pass `prepare`."""
        return prepare(self, *how)

    def respond(
        self, currents: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
    ) -> tuple[tuple[Tensor, ...], Any]:
        """Run a sequence in a plain loop over `step`; see `Cell.respond`."""
        return loop(lambda current, carry: advance(self, current, carry, dt, record, centred), currents, state)


def affine(x: Tensor, factor: Value, offset: Value = 0.0) -> Tensor:
    """Return `factor x + offset`; a factor of 1 or an offset of 0 costs no pass through memory."""
    scaled = x if isinstance(factor, NUMBER) and factor == 1.0 else x * factor
    return scaled if isinstance(offset, NUMBER) and offset == 0.0 else scaled + offset


def decay(dt: float, tau: Value) -> Value:
    """Return `exp(-dt / tau)`, differentiable if tau is learned."""
    return math.exp(-dt / tau) if isinstance(tau, NUMBER) else torch.exp(-dt / tau)


def toward(target: Tensor, x: Tensor, kept: Value) -> Tensor:
    """Return `target + (x - target) kept`: the exact step of a variable that relaxes to a constant target."""
    return torch.lerp(target, x, kept)


def span(v_leak: Value, v_threshold: Value) -> Value:
    """Return the distance from rest to threshold [mV], or 1 if it is zero."""
    distance = abs(v_threshold - v_leak)
    return (distance or 1.0) if isinstance(distance, NUMBER) else distance


def full(shape: Iterable[int], value: Value, like: Tensor) -> Tensor:
    """Return a tensor filled with one value, with the dtype and device of `like`."""
    if isinstance(value, NUMBER):
        return torch.full(tuple(shape), value, dtype=like.dtype, device=like.device)
    filled: Tensor = torch.zeros(tuple(shape), dtype=like.dtype, device=like.device) + value
    return filled
