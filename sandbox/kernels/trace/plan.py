"""A neuron's step as a plan: what torch computes beforehand, and the graph that a kernel evaluates in every step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sandbox.kernels.trace.aten import ATEN
from sandbox.kernels.trace.record import Row, Tape, alone, map_refs, refs
from sandbox.kernels.trace.step import KEY, ONE, Body, check_functions, recorded
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.trace.twin import check_alike, undrawn
from sandbox.kernels.trace.writing import Writing
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons.base import Neuron
from sandbox.neurons.dice import uniform

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
    try:
        return alone(partial(_plan, neuron, body, tuple(states), like, dt, dtype))
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(f"the step fails on a single cell: {error}", cause=error) from error


def _plan(neuron: Neuron, body: Body, states: tuple[str, ...], like: Any, dt: float, dtype: torch.dtype) -> Plan:
    record = partial(recorded, neuron, body, states, like, dt, dtype)
    with undrawn():
        check_functions(neuron, body, states, like, dt, dtype)
    found = record(ONE, nullcontext())
    tape, dice = found.tape, _dice(found.tape)
    check_alike(found, record, {*found.named.values(), *dice})
    writing = Writing(tape, dtype, found.spikes, len(found.current) - 1)
    for i, value in enumerate(found.current):
        writing.leaf(tape.places[id(value)], f"d{i - 1}" if i else "x")
    for i, name in enumerate(states):
        writing.leaf(tape.places[id(getattr(found.state, name))], f"s{i}")
    outputs = tuple(writing.result(value) for value in found.outputs)
    ends = tuple(writing.result(value) for value in found.ends)
    structure = Structure(
        writing.graph,
        len(states),
        len(writing.params),
        len(found.current) - 1 + len(writing.draws),
        outputs,
        ends,
        tuple(writing.spikes.items()),
    )
    boundary = (*writing.params, *writing.draws)
    rows = _needed(tape, boundary, {*found.named.values(), *dice})
    constants = torch.tensor([float(value) for value in writing.graph.constants()], dtype=torch.float64)
    return Plan(structure, constants, states, rows, boundary, found.named, dice, found.used)


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
