"""A neuron that runs compiled programs."""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from rules.errors import unknown
from rules.spikes.surrogate import Surrogate, reset_signal
from rules.steps import wide_dtype
from sandbox.neurons.base import Neuron, Value, full
from sandbox.neurons.dice import DRAWS, following
from sandbox.neurons.firing import spike
from sandbox.reference.compiler.algebra import Node
from sandbox.reference.compiler.formula import parse
from sandbox.reference.compiler.model import Model
from sandbox.reference.compiler.tape import Program, Writer
from sandbox.reference.compiler.units import symbols

PLANS = 64  # kept per model, one for each (dt, dtype, device, constants)


class CompiledNeuron(Neuron):
    """A neuron returned by `from_brian2`: a frozen dataclass of the constants of its equations, in house units."""

    model: ClassVar[Model]
    starts: ClassVar[Mapping[str, float | str]]
    input: ClassVar[str]
    recipe: ClassVar[Mapping[str, Any]]
    rebuild: ClassVar[Callable[..., Any]]  # unpickles a neuron from the arguments of `__reduce__`
    plans: ClassVar[dict[Any, Plan]]
    state_class: ClassVar[Any]
    surrogate: Surrogate

    def with_parameters(self, **changes: Any) -> CompiledNeuron:
        """Return a copy with other constants, numbers or tensors in house units; ValueError for an unknown name."""
        for name in changes:
            if name not in self.parameters:
                raise unknown("parameter", name, self.parameters)
        period = self.model.period
        if period is not None and "t_refractory" not in changes and period.names() & changes.keys():
            known = {name: number_of(value) for name, value in {**self.parameters, **changes}.items()}
            changes["t_refractory"] = Writer(self.model.algebra, (), (), known, torch.zeros(())).plain(period)
        return replace(self, **changes)

    @property
    def clamped(self) -> frozenset[str]:
        """The variables that are held while a cell is refractory; none where nothing makes it so, as in Brian2."""
        return self.model.clamped

    @property
    def parameters(self) -> dict[str, Value]:
        """The constants of the equations, by name, in house units."""
        named = [f.name for f in fields(self)]
        return {name: getattr(self, name) for name in named if name != "surrogate"}

    @property
    def swing(self) -> Value:
        """Scale of the surrogate: as given, or from the initial value to the threshold if that is a number."""
        if self.recipe["swing"] is not None or self.model.above is None:
            return self.recipe["swing"] or 1.0
        compared = set().union(*(side.names() for side in self.model.above))
        known = {name: number_of(value) for name, value in self.parameters.items() if name in compared}
        writer = Writer(self.model.algebra, (), (), known, torch.zeros(()))
        sides = [_at_start(side, self, writer) for side in self.model.above]
        known_sides = [side for side in sides if side is not None]
        distance = abs(known_sides[0] - known_sides[1]) if len(known_sides) == 2 else 1.0
        return distance if distance and math.isfinite(distance) else 1.0

    def initial_state(self, shape: Iterable[int], like: Tensor) -> Any:
        """Return the initial values, ready to fire."""
        shape = tuple(shape)
        values = [full(shape, self._initial(name), like) for name in self.model.variables]
        refractory = self.model.stays is not None or self.t_refractory > 0
        key = torch.zeros((), dtype=torch.int64, device=like.device) if self.model.draws else None
        wait = torch.zeros(shape, dtype=wide_dtype(like), device=like.device) if refractory else None
        return self.state_class(*values, wait=wait, key=key)

    def integrate(self, current: Tensor, state: Any, dt: float) -> Any:
        """Return the state after `dt` ms by Brian2's method; refractory cells keep their clamped variables."""
        plan = self._plan(state, dt)
        program = plan.update
        values = program([*state, current, *self._extra(program, state)] if program.extra else [*state, current])
        values = self._in_dtype(values, state)
        return self.state_class._make([*values, state[-1]] if plan.refractory else [*values, *state[-2:]])

    def fire(self, state: Any, dt: float) -> tuple[Tensor, Any]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset; without a threshold, the membrane."""
        model = self.model
        key = None if state[-1] is None else following(state[-1])
        if model.above is None:
            return getattr(state, self.membrane), state if key is None else state._replace(key=key)
        plan = self._plan(state, dt)
        assert plan.threshold is not None
        u, *gate = plan.threshold([*state, *self._extra(plan.threshold, state)])
        surrogate: Any = _Gated(self.surrogate, gate[0]) if gate else self.surrogate
        wait: Tensor | None = state[-2]
        if model.stays is None:
            spikes, wait = spike(surrogate, u, wait, self.t_refractory, dt, model.strict)
            spikes = spikes.to(state[0].dtype)
        else:
            wait = torch.zeros_like(u) if wait is None else wait
            spikes = (surrogate.spike(u, model.strict) * (wait <= 0)).to(state[0].dtype)
            wait = torch.where(spikes.detach() > 0, 1.0, wait)
        if plan.reset is None:
            return spikes, self.state_class(*state[:-2], wait, key)
        values = self._in_dtype(plan.reset([*state, reset_signal(spikes), *self._extra(plan.reset, state)]), state)
        return spikes, self.state_class(*values, wait, key)

    def centred(self, state: Any) -> Tensor:
        """Return the difference that the threshold compares with zero; the membrane if there is no threshold."""
        plan = self._plan(state, 1.0)
        if plan.threshold is None:
            return getattr(state, self.membrane)  # type: ignore[no-any-return]
        u: Tensor = plan.threshold([*state, *self._extra(plan.threshold, state)])[0]
        swing: Value = self.swing
        scaled: Tensor = u * swing
        return scaled

    @property
    def fastest(self) -> float:
        """Shortest of the constants `tau...` that are times [ms]."""
        times = [torch.as_tensor(value) for name, value in self.parameters.items() if name in self.above]
        return min((float(time.min()) for time in times), default=math.inf)

    @property
    def membrane(self) -> str:
        """The variable that a neuron without a threshold returns as output: v, or the first."""
        return "v" if "v" in self.model.variables else self.model.variables[0]

    def source(self, dt: float = 0.1) -> str:
        """Return the compiled step as readable Python, for one `dt` in ms and the present constants.

        >>> from sandbox.reference import from_brian2
        >>> print(from_brian2("dv/dt = (r*current - v) / (10*ms) : volt", "v > 1*mV", "v = 0*mV",
        ...                   namespace={"r": "1*Mohm"}).source(dt=1.0))
        # v [mV], current [nA]; dt = 1 ms, method 'exact'
        def integrate(v, current):
            x1 = torch.lerp(v, current, 0.09516258196404048)
            v = x1
        def threshold(v):
            x1 = v + -1.0
            u = x1
        def reset(v, fired):
            x1 = torch.lerp(v, 0.0, fired)
            v = x1
        """
        plan = self._plan(self.initial_state((1,), torch.zeros(1, dtype=torch.float64)), dt)
        shown = ", ".join(f"{name} [{unit}]" for name, unit in self.units.items() if name not in self.parameters)
        lines = [f"# {shown}; dt = {dt:g} ms, method {self.method!r}"]
        for name, program in (("integrate", plan.update), ("threshold", plan.threshold), ("reset", plan.reset)):
            if program is not None:
                lines += [f"def {name}({', '.join(program.reads)}):", *(f"    {line}" for line in program.lines)]
        return "\n".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        values = dict(self.parameters)
        return self.rebuild, (dict(self.recipe), dict(self.units), dict(self.starts), values, self.surrogate)

    def _initial(self, name: str) -> Value:
        start = self.starts.get(name, 0.0)
        return parse(start, symbols())(self.parameters) if isinstance(start, str) else start

    def _in_dtype(self, values: list[Tensor], state: Any) -> list[Tensor]:
        """Return new values of the variables in the dtype of the state; draws and counters of half are float32."""
        dtype, count = state[0].dtype, len(self.model.variables)
        return [*(value.to(dtype) for value in values[:count]), *values[count:]]

    def _extra(self, program: Program, state: Any) -> list[Any]:
        """Return the inputs of a program beside the state: draws, and parameters that are tensors."""
        return [self._read(name, state) for name in program.extra] if program.extra else []

    def _read(self, name: str, state: Any) -> Any:
        if name in self.model.draws:
            return DRAWS[self.model.draws[name]](state.key, state[0], list(self.model.draws).index(name))
        return getattr(self, name).to(state[0].dtype)

    def _plan(self, state: Any, dt: float) -> Plan:
        """Return the programs of a step, written at the first use."""
        like: Tensor = state[0]
        key = (dt, like.dtype, like.device, state[-2] is None)
        cache: dict[Any, Plan] = self.__dict__.setdefault("_plans", {})
        if key not in cache:
            known = {name: float(value) for name, value in self.parameters.items() if not isinstance(value, Tensor)}
            swing = float(self.swing)
            shared = (*key, swing, *known.items())
            if shared not in self.plans:
                if len(self.plans) >= PLANS:
                    self.plans.clear()
                self.plans[shared] = _planned(
                    self.model, self.input, {**known, "dt": dt}, swing, like, state[-2] is not None
                )
            cache[key] = self.plans[shared]
        return cache[key]


class Plan(NamedTuple):
    """The programs of one step, for one dt, dtype, device and set of constants."""

    update: Program
    threshold: Program | None
    reset: Program | None
    refractory: bool


class _Gated:
    """A surrogate whose spike requires a further condition."""

    def __init__(self, surrogate: Surrogate, gate: Tensor) -> None:
        self.surrogate, self.gate = surrogate, gate

    def spike(self, u: Tensor, strict: bool = False) -> Tensor:
        return self.surrogate.spike(u, strict) * self.gate


def _planned(model: Model, input: str, known: dict[str, float], swing: float, like: Tensor, refractory: bool) -> Plan:
    write = partial(_written, model, known, like)
    update = write([input], model.after(refractory))
    if model.above is None:
        return Plan(update, None, None, refractory)
    compared = {"u": model.algebra.call("difference", *model.above)} | ({"gate": model.gate} if model.gate else {})
    reset = write(["fired"], model.reset) if model.reset else None
    return Plan(update, write([], compared, scale=1 / swing), reset, refractory)


def _written(
    model: Model,
    known: dict[str, float],
    like: Tensor,
    inputs: list[str],
    outputs: Mapping[str, Node],
    scale: float = 1.0,
) -> Program:
    mentioned = set().union(*(node.names() for node in outputs.values()), set())
    given = [*model.variables, "wait", "key", *inputs]
    extra = [name for name in sorted(mentioned) if name not in known and name not in given]
    return Writer(model.algebra, given, extra, known, like).program(outputs, scale)


@lru_cache(maxsize=256)
def state_class(variables: tuple[str, ...]) -> Any:
    """Make the NamedTuple of a compiled neuron's state: its variables, `wait` and `key`."""
    names = (*variables, "wait", "key")
    plain: Any = namedtuple("CompiledState", names, defaults=(None, None))  # type: ignore[misc]

    class CompiledState(plain):  # type: ignore[misc,unused-ignore]
        __slots__ = ()

        def __reduce__(self) -> tuple[Any, ...]:
            return _state, (variables, tuple(self))

    return CompiledState


def _state(variables: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return state_class(variables)(*values)


def number_of(value: Value) -> float:
    """Return a number, or the mean of a tensor."""
    return float(value.detach().double().mean() if isinstance(value, Tensor) else value)


def _at_start(side: Node, neuron: CompiledNeuron, writer: Writer) -> float | None:
    if side.kind == "name" and side.what in neuron.model.variables:
        return number_of(neuron._initial(side.what))
    return writer.plain(side) if side.level < 2 else None
