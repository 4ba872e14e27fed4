"""Solve a neuron's equations with SciPy: the same text, without its scheme and time step."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sandbox.neurons.base import Neuron
from sandbox.reference.brian import events, jumps, parameters
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.formula import Formula, parse, right_hand_sides
from sandbox.reference.compiler.names import MOVING, NOISE
from sandbox.reference.compiler.units import in_house, symbols
from sandbox.reference.compiler.written import Equation
from sandbox.reference.quantities import unit

Array = NDArray[np.float64]
RTOL = 1e-12  # of spike times, which are compared to 1e-4 of themselves
TIGHT = 3e-14  # of the variables, near the least that SciPy takes: six time steps of order 4 are to have larger errors
ATOL = 0.1  # of these, times the scale of each variable
KINKED = {"abs", "sign", "floor", "ceil", "int", "clip", "timestep"}
OF_A_RUN = MOVING | {"lastspike", "not_refractory", "dt"}  # what is not of the cell and its state alone


class Equations(NamedTuple):
    """A neuron's text as functions of numbers in house units (ms, mV, nA, MOhm, nF, uS).

    A parameter that the reset changes is a variable whose slope is 0.
    """

    names: tuple[str, ...]
    sides: tuple[Formula, ...]
    clamped: tuple[bool, ...]  # `(unless refractory)`
    inner: dict[str, Formula]  # the subexpressions that threshold and reset read
    margin: Callable[[Mapping[str, float]], float] | None  # >= 0 where it fires; None for a random threshold or none
    reset: tuple[tuple[str, Formula], ...]  # target, its value afterwards
    values: dict[str, float]  # of the parameters
    start: Array  # of the variables
    scales: dict[str, float]  # of one unit of each variable, in house units
    t_refractory: float  # [ms]
    smooth: bool  # False for slopes with kinks or jumps, which a scheme of any order passes with order 1

    def derivative(self, y: Array, current: float) -> list[float]:
        """Return the right-hand sides, per ms."""
        at = self._given(y, current)
        return [float(side(at)) for side in self.sides]

    def at(self, y: Array, current: float) -> dict[str, float]:
        """Return every name with its value."""
        at = self._given(y, current)
        return at | {name: float(side(at)) for name, side in self.inner.items()}

    def after_reset(self, y: Array, current: float) -> Array:
        """Return the variables after the statements of the reset, run in order."""
        at = self.at(y, current)
        for target, side in self.reset:
            at[target] = float(side(at))
            at |= {name: float(side(at)) for name, side in self.inner.items()}
        return np.array([at[name] for name in self.names])

    def _given(self, y: Array, current: float) -> dict[str, float]:
        return {**self.values, **dict(zip(self.names, map(float, y), strict=True)), "current": current}


def equations_of(neuron: Neuron) -> Equations:
    """Read a neuron's equations, those of the first cell where cells differ.

    Raises ValueError for what SciPy cannot solve: noise, the clock, amounts that come with each step, functions that
    were handed over.
    """
    if neuron.inputs:
        raise ValueError(f"it has several inputs ({', '.join(neuron.inputs)}); SciPy solves equations with one")
    if "current" not in neuron.units:
        raise ValueError("it has no input that SciPy could solve it with")
    if events(neuron):
        raise ValueError(f"it has further events, {', '.join(events(neuron))}: SciPy solves equations alone")
    if jumps(neuron):
        raise ValueError("its input is an amount for each step, so that smaller steps add more")
    if called := getattr(neuron, "called", {}):
        raise ValueError(f"it calls {', '.join(called)}, handed over with it: SciPy solves what equations say alone")
    lines = {line.name: line for line in grammar.equations(neuron.equations)}
    state = neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64))
    own = {*lines, *parameters(neuron), "current"}
    units = {name: value for name, value in symbols().items() if name not in own}
    reset = _statements(neuron.reset_code or "", units)
    held = {name for name, line in lines.items() if line.kind == "parameter" and hasattr(state, name)}
    changed = sorted(held & {target for target, _ in reset})
    threshold = "True" if neuron.draws or not neuron.threshold else neuron.threshold  # one that is random has no time
    read = grammar.expression(threshold).names.union(*(side.names for _, side in reset))
    sides = right_hand_sides(neuron.equations) | {name: parse("0") for name in changed}
    inner = {name: side for name, side in right_hand_sides(neuron.equations, "subexpression").items() if name in read}
    for name, side in {**sides, **inner}.items():
        _require_solvable(name, side.names)
    _require_solvable("threshold or reset", read)
    scales = {name: in_house(1.0 * unit(text)) for name, text in neuron.units.items()}
    first = {name: float(getattr(state, name)[0]) * scales[name] for name in {*sides, *held}}
    fixed = {name: first[name] for name in held.difference(changed)}
    fixed |= {name: value * scales[name] for name, value in parameters(neuron).items()}
    return Equations(
        names=tuple(sides),
        sides=tuple(sides.values()),
        clamped=tuple("unless refractory" in lines[name].flags for name in sides),
        inner=inner,
        margin=None if neuron.draws or not neuron.threshold else _margin(neuron.threshold, units),
        reset=tuple(reset),
        values={"pi": math.pi, "e": math.e, "inf": math.inf, **fixed},
        start=np.array([first[name] for name in sides]),
        scales=scales,
        t_refractory=0.0 if neuron.refractory is not None else float(torch.as_tensor(neuron.t_refractory).flatten()[0]),
        smooth=all(_smooth(line) for line in lines.values()),
    )


def _smooth(line: Equation) -> bool:
    if line.expression is None:
        return True
    nodes = list(ast.walk(line.expression.tree))
    kinks = any(isinstance(node, ast.Compare | ast.BoolOp | ast.Mod | ast.FloorDiv) for node in nodes)
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return not (kinks or called & KINKED or "constant over dt" in line.flags)


def _require_solvable(name: str, read: frozenset[str]) -> None:
    if clock := sorted(read & OF_A_RUN):
        raise ValueError(f"{name} reads {', '.join(clock)}: SciPy solves equations that are the same at any time")
    if noise := sorted(filter(NOISE.fullmatch, read)):
        raise ValueError(f"{name} has noise, {', '.join(noise)}: no one solution is there to converge to")


def started(neuron: Neuron, equations: Equations, number: int, variables: Array | None = None) -> Any:
    """Return the state of so many cells that are all as the equations begin, or at these variables `[variable, cell]`.

    Cells may begin apart from each other by themselves, by index or by draws.
    """
    like = torch.zeros(number, dtype=torch.float64)
    state = neuron.initial_state((number,), like)
    house = dict(equations.values) | dict(
        zip(equations.names, equations.start if variables is None else variables, strict=True)
    )
    held = {
        name: value / equations.scales[name] for name, value in house.items() if name in getattr(state, "_fields", ())
    }
    return state._replace(
        **{name: torch.as_tensor(value, dtype=torch.float64).expand(number).clone() for name, value in held.items()}
    )


def linear(equations: Equations, y: Array, current: float) -> tuple[Array, Array]:
    """Return the Jacobian by the variables and the derivative by the current, by central differences."""
    columns = []
    for index, value in enumerate(y):
        step = 1e-5 * max(abs(value), 1.0)
        up, down = y.copy(), y.copy()
        up[index] += step
        down[index] -= step
        columns.append(np.subtract(equations.derivative(up, current), equations.derivative(down, current)) / (2 * step))
    step = 1e-5 * (abs(current) or 1.0)
    by_current = np.subtract(equations.derivative(y, current + step), equations.derivative(y, current - step))
    return np.stack(columns, -1), by_current / (2 * step)


def fastest(equations: Equations, current: float, until: float) -> float:
    """Return the shortest time constant [ms] in the first spike: 1 / |eigenvalue| of the Jacobian along it."""
    up = _piece(equations, current, 0.0, equations.start, until, rising=True)
    down = _piece(equations, current, up.y[-1, -1], up.y[:-1, -1], until, rising=False)
    path = np.concatenate([up.y[:-1].T, down.y[:-1].T])
    rates = [np.abs(np.linalg.eigvals(linear(equations, y, current)[0])).max() for y in path[:: 1 + len(path) // 200]]
    return float(1 / max(rates)) if max(rates) else math.inf


def course(equations: Equations, current: float, times: Array) -> Array:
    """Return the variables `[variable, time]` at times [ms], under a constant current [nA], without reset."""

    def slope(t: float, y: Array) -> list[float]:
        return equations.derivative(y, current)

    try:
        found: Array = _integrated(slope, 0.0, float(times[-1]), equations, equations.start, TIGHT, t_eval=times).y
    except ArithmeticError:  # it cannot where slopes have kinks
        found = _integrated(slope, 0.0, float(times[-1]), equations, equations.start, t_eval=times).y
    return found


def spike_times(equations: Equations, current: float, until: float, most: int = 1) -> list[float]:
    """Return the first spikes [ms] under a constant current [nA], no more than `most` and none after `until`.

    After a spike, a cell with a reset restarts, and its `(unless refractory)` variables are constant for the refractory
    period; a cell without a reset waits until it has fallen below its threshold. Raises ValueError for a cell that is
    above its threshold as soon as it may fire: it fires in every step, whatever dt is.
    """
    t, y = 0.0, equations.start
    found: list[float] = []
    while True:
        t, y, fired = _to_threshold(equations, current, t, y, until, rising=True)
        if not fired:
            return found
        found.append(t)
        if len(found) == most:
            return found
        if equations.reset:
            t, y = _restarted(equations, current, t, y)
        else:
            t, y, _ = _to_threshold(equations, current, t, y, until, rising=False)


def _restarted(equations: Equations, current: float, t: float, y: Array) -> tuple[float, Array]:
    y = equations.after_reset(y, current)
    if equations.t_refractory:
        free = [0.0 if clamped else 1.0 for clamped in equations.clamped]

        def held(t: float, y: Array) -> list[float]:
            return [f * d for f, d in zip(free, equations.derivative(y, current), strict=True)]

        y = _integrated(held, 0.0, equations.t_refractory, equations, y).y[:, -1]
    if equations.margin is not None and equations.margin(equations.at(y, current)) >= 0:
        raise ValueError("it is above its threshold as soon as it may fire: it fires in every step, whatever dt is")
    return t + equations.t_refractory, y


def _to_threshold(
    equations: Equations, current: float, t: float, y: Array, until: float, rising: bool
) -> tuple[float, Array, bool]:
    """Return time and variables at the next crossing, and whether there was one before `until`."""
    piece = _piece(equations, current, t, y, until, rising)
    return float(piece.y[-1, -1]), piece.y[:-1, -1], len(piece.t_events[0]) > 0


def _piece(equations: Equations, current: float, t: float, y: Array, until: float, rising: bool) -> Any:
    """Return SciPy's solution, `[variable and time, step]`, up to the next crossing or `until`.

    The solver steps along the length of the trajectory, with time as a variable, because an upstroke can be faster than
    the rounding of time.
    """
    size = _size(equations)

    def slope(s: float, y: Array) -> list[float]:
        f = equations.derivative(y[:-1], current)
        speed = math.hypot(1.0, *(d / z for d, z in zip(f, size, strict=True)))
        return [*(d / speed for d in f), 1 / speed]

    def margin(s: float, y: Array) -> float:
        return equations.margin(equations.at(y[:-1], current)) if equations.margin else -1.0

    def late(s: float, y: Array) -> float:
        return float(y[-1] - until)

    margin.terminal, margin.direction, late.terminal = True, 1.0 if rising else -1.0, True  # type: ignore[attr-defined]
    return _integrated(slope, 0.0, 1e9, equations, np.append(y, t), events=[margin, late])


def _integrated(
    slope: Any, start: float, end: float, equations: Equations, y: Array, rtol: float = RTOL, **options: Any
) -> Any:
    from scipy.integrate import solve_ivp

    tolerance = ATOL * rtol * np.append(_size(equations), np.ones(len(y) - len(equations.names)))
    with np.errstate(all="ignore"):  # a trial step beyond an upstroke may overflow; the solver rejects it
        piece = solve_ivp(slope, (start, end), y, method="DOP853", rtol=rtol, atol=tolerance, **options)
    if piece.status < 0:
        raise ArithmeticError(f"SciPy gave up on the equations: {piece.message}")
    return piece


def _size(equations: Equations) -> Array:
    size: Array = np.maximum(np.abs(equations.start), 1.0)
    return size


def _margin(text: str, units: Mapping[str, float]) -> Callable[[Mapping[str, float]], float] | None:
    """Return `left - right` of a threshold `left >= right`; None for any other."""
    parts = re.split(r">=|>", text)
    if len(parts) != 2 or set(text.split()) & {"and", "or", "not"}:
        return None
    left, right = (parse(part.strip(), units) for part in parts)
    return lambda at: float(left(at)) - float(right(at))


def _statements(text: str, units: Mapping[str, float]) -> list[tuple[str, Formula]]:
    return [
        (
            each.target,
            parse(f"{each.target} {each.operator} ({each.expression})" if each.operator else each.expression, units),
        )
        for each in grammar.statements(text).statements
    ]
