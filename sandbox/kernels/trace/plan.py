"""A neuron's step as a plan: what torch computes beforehand, and the graph that a kernel evaluates in every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate, current_pass, differentiating, heaviside
from sandbox.kernels.trace.aten import ATEN
from sandbox.kernels.trace.record import Row, Tape, alone, map_refs, refs
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.trace.writing import Writing
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons.base import Neuron
from sandbox.neurons.dice import GOLDEN, uniform

Body = Callable[[Neuron, Tensor, Any, float], tuple[tuple[Tensor, ...], Any]]  # one step: outputs, next state
KEY = 0x5EED  # of the random numbers while a step is traced
STREAMS = 8  # of one key that are recognised
BEFOREHAND = frozenset(ATEN) | {
    "erfinv",
    "special_ndtr",
    "logit",
    "_to_copy",
}  # elementwise, so also for whole sequences


@dataclass(frozen=True)
class Plan:
    """A structure, the numbers of one neuron, and what torch computes from its learned parameters and random draws."""

    structure: Structure
    constants: Tensor  # float64
    states: tuple[str, ...]
    rows: tuple[Row, ...]
    boundary: tuple[int, ...]  # values of the tape that the kernel reads: params, then draws
    named: Mapping[str, int]  # parameters of the neuron, by the place of their values
    dice: Mapping[int, tuple[int, torch.dtype]]  # place of a draw -> its stream
    used: bool  # whether a spike depends on the settings of the pass

    def beforehand(self, neuron: Neuron, draw: Callable[[int, torch.dtype], Tensor]) -> list[Tensor]:
        """Compute the inputs of the kernel apart from currents and states, in torch and differentiably."""
        values: dict[int, Any] = {place: getattr(neuron, name) for name, place in self.named.items()}
        values |= {place: draw(*which) for place, which in self.dice.items()}
        for row in self.rows:
            args, kwargs = map_refs(lambda ref: values[ref.place], (row.args, row.kwargs))
            values[row.out] = row.function(*args, **kwargs)
        return [values[place] for place in self.boundary]


def plan(neuron: Neuron, body: Body, states: Sequence[str], like: Any, dt: float, dtype: torch.dtype) -> Plan:
    """Trace one step of one cell; `like` is a state in which the fields `states` are not None. Raises Unsupported."""
    return alone(partial(_plan, neuron, body, tuple(states), like, dt, dtype))


def _plan(neuron: Neuron, body: Body, states: tuple[str, ...], like: Any, dt: float, dtype: torch.dtype) -> Plan:
    _check_functions(neuron, body, states, like, dt, dtype)
    tape = Tape()
    spikes: dict[int, Surrogate] = {}
    current, state, traced, named = _operands(tape, neuron, states, like, dtype)
    with _marked(tape, spikes) as context, tape:
        shown, end = body(traced, current, state, dt)
    _check_end(like, end, states)
    tape.paused = True
    writing = Writing(tape, dtype, spikes)
    writing.leaf(tape.places[id(current)], "x")
    for i, name in enumerate(states):
        writing.leaf(tape.places[id(getattr(state, name))], f"s{i}")
    outputs = tuple(writing.result(value) for value in shown)
    ends = tuple(writing.result(getattr(end, name)) for name in states)
    structure = Structure(
        writing.graph,
        len(states),
        len(writing.params),
        len(writing.draws),
        outputs,
        ends,
        tuple(writing.spikes.items()),
    )
    boundary = (*writing.params, *writing.draws)
    dice = _dice(tape)
    rows = _needed(tape, boundary, {*named.values(), *dice})
    constants = torch.tensor([float(value) for value in writing.graph.constants()], dtype=torch.float64)
    return Plan(structure, constants, states, rows, boundary, named, dice, context.used)


def _operands(
    tape: Tape, neuron: Neuron, states: tuple[str, ...], like: Any, dtype: torch.dtype
) -> tuple[Tensor, Any, Neuron, dict[str, int]]:
    """Make a current, a state and a neuron of one cell, and name them on the tape."""
    current = torch.full((1,), 0.3, dtype=dtype)
    tape.name(current, "step")
    values = {name: torch.full((1,), 0.1 + 0.05 * i, dtype=dtype) for i, name in enumerate(states)}
    for value in values.values():
        tape.name(value, "step")
    if getattr(like, "key", None) is not None:
        values["key"] = torch.tensor(KEY, dtype=torch.int64)
        tape.name(values["key"], "draw")
    learned, named = {}, {}
    for name, value in learned_fields(neuron).items():
        stand_in = value.detach().reshape(-1)[:1].cpu().clone().reshape((1,) if value.ndim else ())
        named[name] = tape.name(stand_in, "param").place
        learned[name] = stand_in
    traced = replace(neuron, **learned) if learned else neuron
    return current, like._replace(**values), traced, named


def learned_fields(neuron: Neuron) -> dict[str, Tensor]:
    """Return the parameters that are tensors, by name."""
    names = neuron.__dataclass_fields__
    return {name: value for name in names if isinstance(value := getattr(neuron, name), Tensor)}


def _marked(tape: Tape, spikes: dict[int, Surrogate]) -> Any:
    """Return the pass of the caller, changed so that the tape records a spike as one operation."""
    context = current_pass()

    def marked(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        if surrogate.shape.stochastic:
            raise Unsupported(f"{surrogate} draws random numbers in the backward pass", expected=True)
        tape.paused = True
        value = heaviside(u.detach(), strict, noise)
        tape.paused = False
        made = tape.mark("strict_spike" if strict else "spike", value, u, noise)
        spikes[tape.places[id(made)]] = surrogate
        return made

    if context is None:
        return differentiating(spike=marked)
    asked = (context.surrogate, context.detach_reset, context.smooth, context.generator, marked)
    return differentiating(*asked, detach_adaptation=context.detach_adaptation)


def _check_end(like: Any, end: Any, states: tuple[str, ...]) -> None:
    if type(end) is not type(like):
        raise Unsupported(f"a step turns a {type(like).__name__} into a {type(end).__name__}")
    kept = [name for name, value in end._asdict().items() if value is not None and name != "key"]
    if kept != list(states):
        raise Unsupported(f"a step turns a state of {', '.join(states)} into one of {', '.join(kept)}", expected=True)
    if getattr(end, "key", None) is not None and int(end.key) != KEY + GOLDEN:
        raise Unsupported("the key of the random draws does not follow sandbox.neurons.dice.following")


def _check_functions(
    neuron: Neuron, body: Body, states: tuple[str, ...], like: Any, dt: float, dtype: torch.dtype
) -> None:
    """Raise Unsupported for a step with an autograd function of its own, whose backward pass a tape does not see."""
    silent = differentiating(spike=lambda surrogate, u, strict, noise: heaviside(u.detach(), strict, noise))
    current, state, traced, _ = _operands(Tape(), neuron, states, like, dtype)
    values = [current, *(getattr(state, name) for name in states), *learned_fields(traced).values()]
    with torch.enable_grad(), silent:
        for value in values:
            if value.is_floating_point():
                value.requires_grad_()
        shown, end = body(traced, current, state, dt)
    waiting = [value.grad_fn for value in (*shown, *(getattr(end, name) for name in states))]
    seen: set[Any] = set()
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if isinstance(function, torch.autograd.function.BackwardCFunction):
            raise Unsupported(f"the step uses the autograd function {type(function).__name__.removesuffix('Backward')}")
        waiting.extend(edge for edge, _ in function.next_functions)


def _dice(tape: Tape) -> dict[int, tuple[int, torch.dtype]]:
    """Return which values are draws of `dice.uniform`, and their streams; draws are recognised by their value."""
    found: dict[int, tuple[int, torch.dtype]] = {}
    key = torch.tensor(KEY, dtype=torch.int64)
    drawn = {
        (float(uniform(key, torch.zeros(1, dtype=dtype), stream)), dtype): stream
        for stream in range(STREAMS)
        for dtype in (torch.float32, torch.float64)
    }
    for place, value in enumerate(tape.values):
        if tape.origins[place] == {"draw"} and (stream := drawn.get((float(value), value.dtype))) is not None:
            found[place] = stream, value.dtype
    return found


def _needed(tape: Tape, boundary: tuple[int, ...], given: set[int]) -> tuple[Row, ...]:
    """Return the rows that compute the boundary from the given values, in order."""
    rows = {row.out: row for row in tape.rows}
    wanted: set[int] = set()
    waiting = list(boundary)
    while waiting:
        place = waiting.pop()
        if place in given or place in wanted:
            continue
        if place not in rows:
            raise Unsupported("random numbers that do not come from sandbox.neurons.dice")
        wanted.add(place)
        name = rows[place].function.overloadpacket.__name__
        if name not in BEFOREHAND or (
            not tape.values[place].is_floating_point() and tape.values[place].dtype != torch.bool
        ):
            raise Unsupported(f"aten.{name} of a learned parameter or a draw")
        waiting.extend(ref.place for ref in refs(rows[place]))
    return tuple(row for row in tape.rows if row.out in wanted)
