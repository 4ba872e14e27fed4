"""The base class of neurons: parameters, the equations Brian2 runs, and the step torch differentiates."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from rules.errors import unknown
from rules.fields import admit, hints_of
from rules.spikes.surrogate import Surrogate
from sandbox.machine.compiled import settled

Value = Any  # a float, or a tensor that broadcasts against the cells: a learned parameter
N = TypeVar("N", bound="Neuron")
LONGEST = 1e9  # ms of a refractory period, eleven days: its steps are counted
NUMBER = (float, int)  # checked in every step; faster than isinstance(value, Tensor)


class Neuron(ABC):
    """Base class of neurons: a frozen dataclass of parameters whose `step` takes a state and returns the next one.

    Attributes:
        equations: the equations Brian2 runs, as are `threshold`, `reset_code` and `refractory`; the input is `current`.
        method: Brian2's name of the numerical scheme.
        units: the Brian2 unit of each parameter and variable in the equations.
        above: lower bound of each bounded parameter, a number or the name of another parameter.
        choices: the valid values of fields that hold a name.
        draws: random numbers that the equations use in each step, by name: "uniform" or "normal".
        presets: published sets of parameters, by name.
        preset_currents: for each preset, a constant current [nA] that shows its firing pattern.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # every member is a dataclass

    equations: ClassVar[str]
    method: ClassVar[str]
    units: ClassVar[dict[str, str]]
    spiking: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    spontaneous: ClassVar[bool] = False  # True if the cell fires in half of the steps without input
    above: ClassVar[Mapping[str, float | str]] = {}
    choices: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    draws: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    preset_currents: ClassVar[Mapping[str, float]] = {}

    t_refractory: float = 0.0  # [ms]

    def __post_init__(self) -> None:
        _admit(self)

    @classmethod
    def preset(cls: type[N], name: str, **changes: Any) -> N:
        """Return the neuron with a published set of parameters.

        Args:
            name: a key of `presets`.
            **changes: fields that differ from the preset.

        Raises:
            ValueError: for an unknown preset; lists the valid ones.

        >>> from sandbox.neurons import Izhikevich
        >>> Izhikevich.preset("FS").a
        0.1
        """
        if name not in cls.presets:
            raise unknown(f"preset of {cls.__name__}", name, cls.presets)
        return cls(**{**cls.presets[name], **changes})

    @property
    def threshold(self) -> str | None:
        """Brian2's condition for a spike; None for a cell that never fires."""
        return None

    @property
    def reset_code(self) -> str | None:
        """Brian2's statements after a spike."""
        return None

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
    def initial_state(self, shape: Iterable[int], like: Tensor) -> Any:
        """Return the resting state of cells of this shape, with the dtype and device of `like`."""

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
        """Take one time step.

        Args:
            current: input current `[...]` [nA], constant within the step.
            state: the state before the step, of `initial_state` or of the step before.
            dt: time step [ms].

        Returns: The output `[...]` and the next state.
        """
        return self.fire(self.integrate(current, state, dt), dt)

    @settled
    def kernel_when_compiled(self, prepare: Callable[..., Any], *how: Any) -> Any:
        """Return `prepare(self, *how)`, computed once while torch.compile traces; the kernels pass `prepare`."""
        return prepare(self, *how)

    @property
    def swing(self) -> Value:
        """Voltage scale of the surrogate [mV]: from rest to threshold if there is a threshold."""
        return 1.0

    @property
    def rheobase(self) -> Value:
        """Constant current [nA] at which the cell begins to fire, approximately; a typical one if it never fires."""
        current: Value = self.swing / getattr(self, "r", 1.0)
        return current

    @property
    def fastest(self) -> float:
        """Shortest time constant [ms]."""
        times = [f.name for f in fields(self) if f.name.startswith("tau")]
        return min((smallest(getattr(self, name)) for name in times), default=math.inf)


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


def smallest(value: Value) -> float:
    """Return a parameter as a plain number; the smallest entry of a learned one."""
    return float(value.detach().min()) if isinstance(value, Tensor) else float(value)


def full(shape: Iterable[int], value: Value, like: Tensor) -> Tensor:
    """Return a tensor filled with one value, with the dtype and device of `like`."""
    if isinstance(value, NUMBER):
        return torch.full(tuple(shape), value, dtype=like.dtype, device=like.device)
    filled: Tensor = torch.zeros(tuple(shape), dtype=like.dtype, device=like.device) + value
    return filled


def _admit(neuron: Neuron) -> None:
    """Convert a surrogate's name and NumPy numbers; raise ValueError for an invalid parameter."""
    if isinstance(getattr(neuron, "surrogate", None), str):  # from a configuration file
        object.__setattr__(neuron, "surrogate", Surrogate(neuron.surrogate))  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in hints_of(type(neuron)).items() if hint in (float, int, bool, str)}
    for f in fields(neuron):
        value = getattr(neuron, f.name)
        if isinstance(value, Tensor) or f.name not in hints:  # a tensor is a learned parameter
            continue
        found = admit(f.name, value, hints[f.name])
        if found is not value:
            object.__setattr__(neuron, f.name, found)
    for name, valid in neuron.choices.items():
        if getattr(neuron, name) not in valid:
            raise unknown(name, getattr(neuron, name), valid)
    for name, low in neuron.above.items():
        value = getattr(neuron, name)
        if not isinstance(low, str) and not (torch.as_tensor(value) > low).all():
            unit = neuron.units.get(name, "1")
            what = "time constant in ms" if unit == "ms" else "number" if unit == "1" else f"number in {unit}"
            raise ValueError(
                f"{name}={value}: give a {'positive ' if low == 0 else ''}{what}{'' if low == 0 else f' above {low:g}'}"
            )
    if not 0 <= neuron.t_refractory <= LONGEST:
        raise ValueError(f"t_refractory={neuron.t_refractory}: give a period in ms, 0 for none, {LONGEST:g} at most")
    if getattr(neuron, "seed", 0) < 0:
        raise ValueError(f"seed={neuron.seed}: give a whole number, at least 0")  # type: ignore[attr-defined]
