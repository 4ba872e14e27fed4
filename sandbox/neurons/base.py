"""A neuron: parameters, the equations Brian2 runs, and the step that torch differentiates, side by side."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from numbers import Real
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from rules.errors import unknown
from rules.spikes.surrogate import Surrogate
from sandbox.machine.compiled import settled

Value = Any  # a float, or a tensor that broadcasts against the cells: a learned parameter
N = TypeVar("N", bound="Neuron")
NUMBER = (float, int)  # what is no tensor; asked in every step, and faster than asking for a tensor


class Neuron(ABC):
    """A frozen dataclass of parameters; every `step` takes the state and returns the next one.

    `equations`, `threshold`, `reset_code`, `refractory` and `method` are what Brian2 runs, with the input called
    `current`; `units` names the Brian2 unit of each parameter and variable that the equations mention; `above` has the
    lower bounds of parameters, numbers or names of other parameters; `choices` the words that a field may hold;
    `draws` the random numbers of each step that the equations mention, by name: "uniform" or "normal"; `presets` named
    sets of parameters with their source.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # every member is a dataclass

    equations: ClassVar[str]
    method: ClassVar[str]
    units: ClassVar[dict[str, str]]
    spiking: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True
    spontaneous: ClassVar[bool] = False  # fires half of the time where nothing drives it
    above: ClassVar[Mapping[str, float | str]] = {}
    choices: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    draws: ClassVar[Mapping[str, str]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {}
    preset_currents: ClassVar[Mapping[str, float]] = {}  # a constant current [nA] that shows each preset's pattern

    t_refractory: float = 0.0  # [ms]

    def __post_init__(self) -> None:
        _admit(self)

    @classmethod
    def preset(cls: type[N], name: str, **changes: Any) -> N:
        """The neuron with a published set of parameters.

        >>> from sandbox.neurons import Izhikevich
        >>> Izhikevich.preset("FS").a
        0.1
        """
        if name not in cls.presets:
            raise unknown(f"preset of {cls.__name__}", name, cls.presets)
        return cls(**{**cls.presets[name], **changes})

    @property
    def threshold(self) -> str | None:
        """Brian2's condition for a spike; None for a cell that has none."""
        return None

    @property
    def reset_code(self) -> str | None:
        """Brian2's statements after a spike."""
        return None

    @property
    def refractory(self) -> str | None:
        """A condition that keeps a cell refractory; None where t_refractory does."""
        return None

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

    @settled
    def kernel_when_compiled(self, prepare: Callable[..., Any], *how: Any) -> Any:
        """Return `prepare(self, *how)`, worked out once where torch.compile looks on; the kernels hand in `prepare`."""
        return prepare(self, *how)

    @property
    def swing(self) -> Value:
        """A voltage [mV] by which surrogates are scaled: from rest to threshold where there is one."""
        return 1.0

    @property
    def rheobase(self) -> Value:
        """The constant current [nA] at which the cell begins to fire, about; where it never does, a typical current."""
        current: Value = self.swing / getattr(self, "r", 1.0)
        return current

    @property
    def fastest(self) -> float:
        """The shortest time constant [ms]."""
        times = [f.name for f in fields(self) if f.name.startswith("tau")]
        return min((smallest(getattr(self, name)) for name in times), default=math.inf)


def affine(x: Tensor, factor: Value, offset: Value = 0.0) -> Tensor:
    """`factor x + offset` without the passes through memory that a factor of one or an offset of zero would cost."""
    scaled = x if isinstance(factor, NUMBER) and factor == 1.0 else x * factor
    return scaled if isinstance(offset, NUMBER) and offset == 0.0 else scaled + offset


def decay(dt: float, tau: Value) -> Value:
    """`exp(-dt / tau)`, differentiable where tau is learned."""
    return math.exp(-dt / tau) if isinstance(tau, NUMBER) else torch.exp(-dt / tau)


def toward(target: Tensor, x: Tensor, kept: Value) -> Tensor:
    """`target + (x - target) kept`: the exact step of a variable that relaxes to a constant target."""
    return torch.lerp(target, x, kept)


def span(v_leak: Value, v_threshold: Value) -> Value:
    """The distance from rest to threshold [mV], or 1 where there is none."""
    distance = abs(v_threshold - v_leak)
    return (distance or 1.0) if isinstance(distance, NUMBER) else distance


def smallest(value: Value) -> float:
    """A parameter as a plain number: the smallest of learned ones."""
    return float(value.detach().min()) if isinstance(value, Tensor) else float(value)


def full(shape: Iterable[int], value: Value, like: Tensor) -> Tensor:
    """A state of one value, with the dtype and device of `like`."""
    if isinstance(value, NUMBER):
        return torch.full(tuple(shape), value, dtype=like.dtype, device=like.device)
    filled: Tensor = torch.zeros(tuple(shape), dtype=like.dtype, device=like.device) + value
    return filled


def _admit(neuron: Neuron) -> None:
    """Read a surrogate given by name and numbers of other libraries; raise ValueError for an impossible parameter."""
    if isinstance(getattr(neuron, "surrogate", None), str):  # as a configuration file gives it
        object.__setattr__(neuron, "surrogate", Surrogate(neuron.surrogate))  # type: ignore[attr-defined]
    for f in fields(neuron):
        value = getattr(neuron, f.name)
        if isinstance(value, Real) and not isinstance(value, NUMBER):  # a numpy.float32, say
            object.__setattr__(neuron, f.name, float(value))
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
    if not neuron.t_refractory >= 0:
        raise ValueError(f"t_refractory={neuron.t_refractory}: give a period in ms, 0 for none")
