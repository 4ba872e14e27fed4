"""A neuron that runs compiled programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate, reset_signal
from rules.steps import wide_dtype
from sandbox.neurons.base import Neuron, Value, full
from sandbox.neurons.dice import DRAWS, following
from sandbox.neurons.firing import spike
from sandbox.reference.compiler.measured import admitted, checked, no_parameter, rheobase_of, swing_of, unheard
from sandbox.reference.compiler.model import Model
from sandbox.reference.compiler.plan import Plan, changed_period, planned, written
from sandbox.reference.compiler.program import Program
from sandbox.reference.compiler.reading import CLOCKS, Exact, Gated, any_of, of_cells, places, require_cells, started

STARTING = 1000  # the first stream of draws of initial values
UNREAD = "unread"  # the input of a neuron without one
PLANS = 64  # kept per model, one for each (dt, dtype, device, constants)


class CompiledNeuron(Neuron):
    """A neuron returned by `from_brian2`: a frozen dataclass of the constants of its equations, in house units."""

    model: ClassVar[Model]
    starts: ClassVar[Mapping[str, float | str | Tensor]]
    input: ClassVar[str | None]  # the only one; None for none, and for several
    within_period: ClassVar[frozenset[str]]  # constants that are part of `t_refractory` alone
    called: ClassVar[Mapping[str, Any]]  # functions that the model brought along
    jumps: ClassVar[Mapping[str, str]]  # by input, the variable that it is added to before a step
    recipe: ClassVar[Mapping[str, Any]]
    rebuild: ClassVar[Callable[..., Any]]  # unpickles a neuron from the arguments of `__reduce__`
    plans: ClassVar[dict[Any, Plan]]
    swings: ClassVar[dict[Any, float]]
    compiled_with: ClassVar[Mapping[str, float]]
    state_class: ClassVar[Any]
    surrogate: Surrogate

    def with_parameters(self, **changes: Any) -> CompiledNeuron:
        """Return a copy with other constants, numbers or tensors in house units; ValueError for an unknown name.

        Constants that the refractory time alone reads are part of `t_refractory`, and are given together.
        """
        for name in changes:
            if name not in self.parameters and name not in self.within_period:
                raise no_parameter(self, name)
        changes = {name: admitted(name, value, self.units) for name, value in changes.items()}
        missing = sorted(self.within_period - changes.keys())
        if missing and len(missing) < len(self.within_period):
            raise ValueError(
                f"{', '.join(missing)} and the others make the refractory time: give all, or t_refractory="
            )
        period = self.model.period
        if period is not None and "t_refractory" not in changes and period.names() & changes.keys():
            changes["t_refractory"] = changed_period(self, changes)
        kept = {name: value for name, value in changes.items() if name not in self.within_period}
        return checked(replace(self, **kept))  # type: ignore[no-any-return]

    @property
    def clamped(self) -> frozenset[str]:
        """The variables that are held while a cell is refractory; none where nothing makes it so, as in Brian2."""
        return frozenset(self.model.clamps)

    @property
    def parameters(self) -> dict[str, Value]:
        """The constants of the equations, by name, in house units."""
        named = [f.name for f in fields(self)]
        return {name: getattr(self, name) for name in named if name != "surrogate"}

    @property
    def heeds(self) -> bool:
        """Whether anything reads its inputs, each of them."""
        return not self.unheeded

    @property
    def answers(self) -> bool:
        """Whether the output depends on its inputs, each of them."""
        return self.model.causes(self.membrane) >= set(self.driving)

    @property
    def unheeded(self) -> tuple[str, ...]:
        """The inputs that nothing reads; of a neuron without one a word for it."""
        model, hearing = self.model, set(self.model.heard.values())
        updates = [node for name, node in (*model.update.items(), *model.waiting.items()) if name not in hearing]
        read = set().union(*(node.names() for node in (*updates, *model.late)))
        return tuple(name for name in self.driving if not {name, model.heard.get(name)} & read)

    @property
    def deaf(self) -> str | None:
        """What to say where currents are given that nothing reads; None where they are read, and for `input=None`."""
        if "_deaf" not in self.__dict__:
            self.__dict__["_deaf"] = unheard(self) if self.input is not None and not self.heeds else None
        return self.__dict__["_deaf"]  # type: ignore[no-any-return]

    @property
    def driving(self) -> tuple[str, ...]:
        """The names of the inputs in the equations."""
        return self.inputs or (self.input or UNREAD,)

    @property
    def swing(self) -> Value:
        """Scale of the surrogate: as given, or from initial values to the threshold, or 1 where that is not a number.

        A constant that is a tensor counts as the number that it was compiled with, so that kernels know the scale.
        """
        if self.recipe["swing"]:
            return self.recipe["swing"]
        many = [name for name, value in self.parameters.items() if isinstance(value, Tensor)]
        plain = replace(self, **{name: self.compiled_with.get(name, 0.0) for name in many}) if many else self
        key = tuple(plain.parameters.items())
        if key not in self.swings:
            self.swings[key] = swing_of(plain)
        return self.swings[key]

    @property
    def rheobase(self) -> Value:
        """The smallest constant input at which the cell fires, or fires twice as often, by bisection at the first use.

        Of a cell that never fires the one that moves its membrane by its swing; of one without an input its swing. Of
        several inputs a tensor `[inputs]`, each where the others are 0.
        """
        found: list[Value] = self.__dict__.setdefault("_rheobase", [])
        if not found:
            found.append(rheobase_of(self))
        return found[0]

    def initial_state(self, shape: Iterable[int], like: Tensor) -> Any:
        """Return the initial values, ready to fire."""
        shape = tuple(shape)
        require_cells(self, shape)
        values = [full(shape, self._initial(name, shape, like), like) for name in self.model.variables]
        refractory = self.model.stays is not None or bool(torch.as_tensor(self.t_refractory > 0).any())
        zero = torch.zeros((), dtype=torch.int64, device=like.device)
        wait = torch.zeros(shape, dtype=wide_dtype(like), device=like.device) if refractory else None
        return self.state_class(
            *values,
            wait=wait,
            key=zero if self.model.draws else None,
            clock=zero.clone() if self.model.timed else None,
        )

    def integrate(self, current: Tensor, state: Any, dt: float) -> Any:
        """Return the state after `dt` ms by Brian2's method; refractory cells keep their clamped variables."""
        plan = self._plan(state, dt)
        program = plan.update
        if self.inputs:
            self.driven(current)  # the axis of inputs is theirs
        given = [*state, *(current.unbind(-1) if self.inputs else (current,))]
        values = self._run(program, given, state, dt)
        values = self._in_dtype(values, state)
        if plan.alike:
            zero = torch.zeros_like(state[0])
            values = [value + zero if at in plan.alike else value for at, value in enumerate(values)]
        return self.state_class._make([*values, *state[-2:]] if plan.refractory else [*values, *state[-3:]])

    def fire(self, state: Any, dt: float) -> tuple[Tensor, Any]:
        """Return spikes `[...]`, 0 or 1, and the state after the reset; without a threshold, the membrane."""
        model = self.model
        wait, key, clock = state[-3:]
        after = (None if key is None else following(key), None if clock is None else clock + 1)
        plan = self._plan(state, dt)
        if plan.threshold is None:
            if plan.reset is not None:  # of further events
                never = torch.zeros_like(state[0])
                values = self._run(plan.reset, [*state, never], state, dt)
                state = self.state_class(*self._in_dtype(values, state), wait, key, clock)
            if any_of(after):
                state = state._replace(key=after[0], clock=after[1])
            return getattr(state, self.membrane), state
        u, *more = self._run(plan.threshold, state, state, dt)
        if plan.fixed:
            u = u + torch.zeros_like(state[0])
        surrogate: Any = self.surrogate
        if more:
            surrogate = Gated(surrogate, more[0]) if model.exact is None else Exact(surrogate, more[0])
        if model.stays is None:
            with of_cells(self, state[0]):
                spikes, wait = spike(surrogate, u, wait, self.t_refractory, dt, model.strict)
            spikes = spikes.to(state[0].dtype)
        else:
            wait = torch.zeros_like(u) if wait is None else wait
            spikes = (surrogate.spike(u, model.strict) * (wait <= 0)).to(state[0].dtype)
            wait = torch.where(spikes.detach() > 0, 1.0, wait)
        if plan.reset is None:
            return spikes, self.state_class(*state[:-3], wait, *after)
        values = self._in_dtype(self._run(plan.reset, [*state, reset_signal(spikes)], state, dt), state)
        return spikes, self.state_class(*values, wait, *after)

    def centred(self, state: Any) -> Tensor:
        """Return the difference that the threshold compares with zero; the membrane if there is no threshold."""
        plan = self._plan(state, 1.0)
        if plan.threshold is None:
            return getattr(state, self.membrane)  # type: ignore[no-any-return]
        u: Tensor = self._run(plan.threshold, state, state, 1.0)[0]
        swing: Value = self.swing
        scaled: Tensor = u * swing
        return scaled

    def difference(self, state: Any) -> Tensor:
        """Return the same of a neuron with a threshold, before its swing is known."""
        assert self.model.above is not None
        compared = {"u": self.model.algebra.call("difference", *self.model.above)}
        program = written(self.model, {**self._numbers(), "dt": 1.0}, state[0], [], compared)
        return self._run(program, state, state, 1.0)[0]

    def _numbers(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.parameters.items() if not isinstance(value, Tensor)}

    @property
    def fastest(self) -> float:
        """Shortest of the constants `tau...` that are times [ms]."""
        times = [torch.as_tensor(value) for name, value in self.parameters.items() if name in self.above]
        return min((float(time.detach().min()) for time in times), default=math.inf)

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
        return f"# {shown}; dt = {dt:g} ms, method {self.method!r}\n{plan}"

    def __reduce__(self) -> tuple[Any, ...]:
        values = dict(self.parameters)
        return self.rebuild, (
            dict(self.recipe),
            dict(self.units),
            dict(self.starts),
            values,
            self.surrogate,
            dict(self.called),
        )

    def _initial(self, name: str, shape: tuple[int, ...] = (1,), like: Tensor | None = None) -> Value:
        start = self.starts.get(name, self.model.starts.get(name, 0.0))
        if name not in self.starts and like is not None:  # when a cell fired last is long ago
            start = max(start, torch.finfo(like.dtype).min)
        stream = STARTING + self.model.variables.index(name)
        return started(name, start, self.model.kinds.get(name), self.parameters, shape, like, stream)

    def _in_dtype(self, values: list[Tensor], state: Any) -> list[Tensor]:
        """Return new values of the variables in the dtype of the state; draws and counters of half are float32."""
        dtype, count = state[0].dtype, len(self.model.variables)
        return [*(value.to(dtype) for value in values[:count]), *values[count:]]

    def _run(self, program: Program, given: Sequence[Any], state: Any, dt: float) -> list[Tensor]:
        """Run a program on what is given and its further inputs: draws, the time, the index, parameters as tensors."""
        with of_cells(self, state[0]):
            return program([*given, *(self._read(name, state, dt) for name in program.extra)])

    def _read(self, name: str, state: Any, dt: float) -> Any:
        if name in self.model.draws:
            return DRAWS[self.model.draws[name]](state.key, state[0], list(self.model.draws).index(name))
        if name in ("i", "N"):
            return places(state[0])[name]
        if name in CLOCKS:
            return CLOCKS[name](state, dt)
        return getattr(self, name).to(state[0].dtype)

    def _plan(self, state: Any, dt: float) -> Plan:
        """Return the programs of a step, written at the first use."""
        like: Tensor = state[0]
        key = (dt, like.dtype, like.device, state[-3] is None)
        cache: dict[Any, Plan] = self.__dict__.setdefault("_plans", {})
        if key not in cache:
            known = self._numbers()
            swing = float(self.swing)
            shared = (*key, swing, *known.items())
            if shared not in self.plans:
                if len(self.plans) >= PLANS:
                    self.plans.clear()
                with torch.inference_mode(False):  # constants are kept, also for steps that autograd records
                    self.plans[shared] = planned(
                        self.model, self.driving, {**known, "dt": dt}, swing, like, state[-3] is not None
                    )
            cache[key] = self.plans[shared]
        return cache[key]
