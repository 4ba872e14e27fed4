"""The programs of a neuron's step, written for one dt, dtype, device and set of constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sandbox.neurons.base import Value
from sandbox.reference.compiler.model import Model
from sandbox.reference.compiler.node import Node
from sandbox.reference.compiler.program import Program
from sandbox.reference.compiler.tape import Writer


class Plan(NamedTuple):
    """The programs of one step, for one dt, dtype, device and set of constants."""

    update: Program
    threshold: Program | None
    reset: Program | None
    refractory: bool
    fixed: bool = False  # whether the threshold is the same for all cells
    alike: tuple[int, ...] = ()  # the variables, by number, that read constants and the time alone

    def __str__(self) -> str:
        """Return its programs as readable Python."""
        lines = []
        for name, program in (("integrate", self.update), ("threshold", self.threshold), ("reset", self.reset)):
            if program is not None:
                lines.append(f"def {name}({', '.join(program.reads)}):")
                lines += [f"    {line}" for line in program.lines or ("pass",)]
        return "\n".join(lines)


def planned(
    model: Model, inputs: Sequence[str], known: dict[str, float], swing: float, like: Tensor, refractory: bool
) -> Plan:
    """Return the programs of a step, for constants that are known, and cells that may be refractory."""
    write = partial(written, model, known, like)
    after = model.after(refractory)
    update = write(inputs, after)
    of_cells = {*model.variables, *inputs, *model.draws, "wait", "lastspike_si", "i"}
    alike = tuple(at for at, name in enumerate(model.variables) if after[name].names().isdisjoint(of_cells))
    reset = write(["fired"], model.reset) if model.reset else None
    if model.above is None:
        return Plan(update, None, reset, refractory, alike=alike)
    compared = {"u": model.algebra.call("difference", *model.above)}
    compared |= {name: node for name, node in (("gate", model.gate), ("holds", model.exact)) if node is not None}
    fixed = all(side.level < 2 for side in model.above)
    return Plan(update, write([], compared, scale=1 / swing), reset, refractory, fixed, alike)


def written(
    model: Model,
    known: dict[str, float],
    like: Tensor,
    inputs: Sequence[str],
    outputs: Mapping[str, Node],
    scale: float = 1.0,
) -> Program:
    """Return the program of these nodes, for constants that are known and a dtype and device."""
    mentioned = set().union(*(node.names() for node in outputs.values()), set())
    given = [*model.variables, "wait", "key", "clock", *inputs]
    extra = [name for name in sorted(mentioned) if name not in known and name not in given]
    return Writer(model.algebra, given, extra, known, like).program(outputs, scale)


def period_of(model: Model, parameters: Mapping[str, Value]) -> Any:
    """Return the refractory time [ms] of constants, a tensor if one of them is."""
    node = model.period
    assert node is not None
    many = {name: value for name, value in parameters.items() if name in node.names() and isinstance(value, Tensor)}
    known = {name: float(value) for name, value in parameters.items() if not isinstance(value, Tensor)}
    if not many:
        return Writer(model.algebra, (), (), known, torch.zeros(())).plain(node)
    like = next(iter(many.values()))
    program = Writer(model.algebra, (), tuple(many), known, like).program({"period": node})
    return program(list(many.values()))[0]


def changed_period(neuron: Any, changes: Mapping[str, Value]) -> Any:
    """Return the refractory time [ms] of a neuron with changed constants; ValueError where some are unknown."""
    known = {**neuron.parameters, **changes}
    if not neuron.model.period.names() - {"dt"} <= known.keys():
        raise ValueError(
            f"the refractory time is made of {', '.join(sorted(neuron.within_period))} too: give them as well, or "
            "t_refractory="
        )
    return period_of(neuron.model, known)
