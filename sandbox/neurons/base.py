"""A neuron: state, the equations Brian2 runs, and the step that torch differentiates, side by side."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from rules.errors import unknown
from rules.surrogates import Surrogate, generator_of_pass
from sandbox.neurons.dice import fresh
from sandbox.neurons.kernels.attempt import attempt

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

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def kernel_when_compiled(self, *how: Any) -> Any:
        """What `sandbox.neurons.kernels.when_compiled` needs to know of this neuron while torch.compile looks on."""
        from sandbox.neurons.kernels.when_compiled import prepared

        return prepared(self, *how)

    def kernel_source(
        self,
        dt: float = 1.0,
        dtype: torch.dtype = torch.float64,
        record: tuple[str, ...] = (),
        backend: str = "numba",
    ) -> str:
        """The Python of this neuron's forward and backward kernel, as numba or Triton compiles it.

        Arguments: `dt` in ms, the dtype of the currents, the names of recorded variables, "numba" or "triton". Raises
        RuntimeError, with the reason, for a neuron that has no kernel.
        """
        from sandbox.neurons.kernels.source import source

        return source(self, dt, dtype, record, backend)

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
        times = [f.name for f in fields(self) if f.name.startswith("tau")]  # type: ignore[arg-type]  # always a dataclass
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


def loop(
    step: Callable[[Tensor, Any], tuple[tuple[Tensor, ...], Any]], inputs: Tensor, carry: Any
) -> tuple[tuple[Tensor, ...], Any]:
    """The only time loop: `(outputs), carry = step(input, carry)` for every step, the outputs stacked along time."""
    rows = []
    for x in inputs.unbind(0):
        outputs, carry = step(x, carry)
        rows.append(outputs)
    return tuple(torch.stack(column) for column in zip(*rows, strict=True)), carry


def sequence(
    neuron: Neuron, currents: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
) -> tuple[tuple[Tensor, ...], Any]:
    """All steps of a neuron, in a kernel where there is one for it (`sandbox.neurons.kernels`).

    Returns the output, each recorded variable, and, if `centred`, membrane minus threshold before the reset, all
    `[T, ...]`; and the last state.
    """
    fused = attempt(neuron, currents, state, dt, record, centred)
    if fused is not None:
        return fused
    return loop(lambda current, carry: advance(neuron, current, carry, dt, record, centred), currents, state)


def advance(
    neuron: Neuron, current: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
) -> tuple[tuple[Tensor, ...], Any]:
    """One step, and what is shown of it."""
    if not centred:
        output, after = neuron.step(current, state, dt)
        return (output, *(getattr(after, name) for name in record)), after
    before = neuron.integrate(current, state, dt)
    output, after = neuron.fire(before, dt)
    return (output, *(getattr(after, name) for name in record), neuron.centred(before)), after


def rest(neuron: Neuron, currents: Tensor, generator: torch.Generator | None = None) -> Any:
    """The state before anything has happened, for currents `[T, ...]`.

    A noisy neuron's key is drawn from the generator, or else from that of the pass (`rules.surrogates`).
    """
    state = neuron.initial_state(currents.shape[1:], currents)
    if neuron.draws:
        generator = generator or generator_of_pass()
        return state if generator is None else state._replace(key=fresh(generator, currents))
    return state


def scan(
    neuron: Neuron, currents: Tensor, state: Any = None, dt: float = 1.0, generator: torch.Generator | None = None
) -> tuple[Tensor, Any]:
    """Run a neuron over a sequence of currents.

    Arguments: currents `[T, ...]` in nA, a state to continue from, `dt` in ms, the dice of a noisy neuron. Returns
    outputs `[T, ...]` and the last state; handing that state back continues exactly. Raises ValueError for an empty
    sequence, a current that is not finite, a state of another shape or dtype, or `dt <= 0`; warns where dt is longer
    than the fastest time constant.

    >>> from sandbox.neurons import LIF
    >>> spikes, state = scan(LIF(tau_mem=10.0), torch.full((50, 1), 1.5))
    >>> int(spikes.sum())
    4
    """
    start = admitted(neuron, currents, state, dt, generator)
    (outputs,), end = sequence(neuron, currents, start, dt)
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


def simulate(
    neuron: Neuron,
    currents: Tensor,
    dt: float = 1.0,
    record: tuple[str, ...] = ("v",),
    state: Any = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Run a neuron and keep its variables as they stand at the end of each step, after the reset.

    Arguments: as for `scan`, and the names of state variables. Raises ValueError as `scan` does, and for a variable
    that the neuron's state does not have.

    >>> from sandbox.neurons import LIF
    >>> round(float(simulate(LIF(tau_mem=10.0), torch.full((10, 1), 0.5)).v[-1]), 4)  # 0.5 (1 - exp(-1))
    0.3161
    """
    start = admitted(neuron, currents, state, dt, generator)
    legal = variables(start)
    for name in record:
        if name not in legal:
            raise ValueError(f"{type(neuron).__name__} has no variable {name!r}; it has: {', '.join(legal)}")

    (spikes, *rows), _ = sequence(neuron, currents, start, dt, record)
    return Trajectory(spikes, dict(zip(record, rows, strict=True)), dt)


def variables(state: Any) -> list[str]:
    """The names of what a state holds of each cell."""
    return [name for name, value in state._asdict().items() if value is not None and name != "key"]


def admitted(neuron: Neuron, currents: Tensor, state: Any, dt: float, generator: torch.Generator | None) -> Any:
    """The state to start from, where neuron, currents, state and dt go together; torch.compile is shown no checks."""
    if torch.compiler.is_compiling():
        return rest(neuron, currents, generator) if state is None else state
    check_currents(neuron, currents, dt)
    return rest(neuron, currents, generator) if state is None else check_state(neuron, state, currents[0])


def check_currents(neuron: Neuron, currents: Tensor, dt: float) -> None:
    """Raise ValueError for what no neuron can be driven with; warn where dt is too long for its dynamics."""
    if currents.ndim == 0 or len(currents) == 0:
        raise ValueError(f"currents have shape {tuple(currents.shape)}; wanted [T, ...] with at least one step")
    if not currents.is_floating_point():
        raise ValueError(f"currents have dtype {currents.dtype}; wanted floating point: currents.double()")
    if not dt > 0:
        raise ValueError(f"dt={dt}: give a positive time step in ms")
    transformed = torch._C._are_functorch_transforms_active()  # to which no number can be shown
    seen = currents[:1] if currents.stride(0) == 0 else currents
    if not transformed and not torch.isfinite(seen.sum()) and not torch.isfinite(seen).all():
        first = (~torch.isfinite(seen)).nonzero()[0].tolist()
        raise ValueError(f"currents hold {seen[tuple(first)].item()} at {first}; wanted finite numbers in nA")
    check_resolution(neuron, dt)


def check_resolution(neuron: Neuron, dt: float) -> None:
    """Warn where dt is longer than the fastest time constant."""
    if dt > neuron.fastest:
        name = type(neuron).__name__
        warnings.warn(f"dt={dt:g} ms is longer than the fastest time constant of {name}, {neuron.fastest:g} ms: its "
                      "dynamics are not resolved; use a smaller dt", stacklevel=5)  # fmt: skip


def check_state(neuron: Neuron, state: Any, current: Tensor) -> Any:
    """The state, where it is one of this neuron for such a current; raise ValueError otherwise."""
    wanted = neuron.initial_state(current.shape, current)
    if type(state) is not type(wanted):
        raise ValueError(f"state is a {type(state).__name__}; {type(neuron).__name__} wants a {type(wanted).__name__}, "
                         "as neuron.initial_state(shape, like) gives")  # fmt: skip
    for name in variables(state):
        value = getattr(state, name)
        if value.shape != current.shape or value.dtype != current.dtype:
            raise ValueError(f"state.{name} is {value.dtype} of shape {tuple(value.shape)}; the currents want "
                             f"{current.dtype} of shape {tuple(current.shape)}")  # fmt: skip
    return state


def _admit(neuron: Neuron) -> None:
    """Read a surrogate given by name and numbers of other libraries; raise ValueError for an impossible parameter."""
    if isinstance(getattr(neuron, "surrogate", None), str):  # as a configuration file gives it
        object.__setattr__(neuron, "surrogate", Surrogate(neuron.surrogate))  # type: ignore[attr-defined]
    for f in fields(neuron):  # type: ignore[arg-type]  # always a dataclass
        value = getattr(neuron, f.name)
        if isinstance(value, Real) and not isinstance(value, NUMBER):  # a numpy.float32, say
            object.__setattr__(neuron, f.name, float(value))
    for name, legal in neuron.choices.items():
        if getattr(neuron, name) not in legal:
            raise unknown(name, getattr(neuron, name), legal)
    for name, low in neuron.above.items():
        value = getattr(neuron, name)
        if not isinstance(low, str) and not (torch.as_tensor(value) > low).all():
            unit = neuron.units.get(name, "1")
            what = "time constant in ms" if unit == "ms" else "number" if unit == "1" else f"number in {unit}"
            raise ValueError(f"{name}={value}: give a {'positive ' if low == 0 else ''}{what}"
                             f"{'' if low == 0 else f' above {low:g}'}")  # fmt: skip
    if not neuron.t_refractory >= 0:
        raise ValueError(f"t_refractory={neuron.t_refractory}: give a period in ms, 0 for none")
