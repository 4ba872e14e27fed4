"""The inputs of a compiled neuron: their names, units, and the variables they are added to, and whether they act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.errors import unknown
from sandbox.reference.compiler import effort, grammar
from sandbox.reference.compiler.given import behind
from sandbox.reference.compiler.measured import unheard
from sandbox.reference.compiler.names import MOVING
from sandbox.reference.compiler.neuron import CompiledNeuron
from sandbox.reference.compiler.updater import Text, codes
from sandbox.reference.compiler.written import Equation
from sandbox.reference.need import brian2


class Drive(NamedTuple):
    """The inputs of a neuron, in the order of the last axis of its currents where there are several.

    Attributes:
        units: the unit of each input, by name.
        jumps: the variable that an input is added to before each step, by input.
        several: whether currents have an axis of inputs.
    """

    units: dict[str, str]
    jumps: dict[str, str]
    several: bool
    given: tuple[str, ...]  # the names as they were given


def drive_of(lines: Sequence[Equation], input: Any, input_unit: str, inputs: Any, jumps: Any) -> Drive:
    """Return the inputs that the arguments of `from_brian2` describe, with names that are ours made free.

    Raises:
        ValueError: for names that are not valid, variables that do not exist, and units that differ from those of the
            equations.
    """
    several = inputs is not None or isinstance(jumps, Mapping)
    if several and input not in ("current", None):
        raise ValueError(f"input={input!r} beside several inputs: name it among them, inputs=({input!r}, ...)")
    if jumps is not None and not isinstance(jumps, Mapping) and (several or not isinstance(jumps, str)):
        names = [jumps] if isinstance(jumps, str) else jumps if isinstance(jumps, Sequence) else ["g"]
        wanted = ", ".join(f"'to_{name}': {name!r}" for name in names)
        raise ValueError(
            f"jumps={jumps!r}: of several inputs name each that is added to a variable, jumps={{{wanted}}}"
        )
    if not several:
        inputs, jumps = () if input is None else (input,), {} if jumps is None else {input: jumps}
    named = _units(inputs or (), input_unit)
    jumps = dict(jumps or {})
    lined = {behind(line.name): line for line in lines}
    moving = {name: each.unit for name, each in lined.items() if _moving(each)}
    for name, variable in jumps.items():
        if not isinstance(variable, str) or behind(variable) not in moving:
            raise unknown("variable in jumps:", str(variable), moving)
        if name is None or behind(str(name)) in lined:
            raise ValueError(
                f"input={name!r} with jumps={variable!r}: the input is what is added, give it a name of its own"
            )
        named[name] = moving[behind(variable)]
    for name in named:
        if not isinstance(name, str) or not grammar.NAME.fullmatch(name):
            raise ValueError(f"input={name!r} is not a valid name")
        line = lined.get(behind(name))
        if line is not None and line.kind != "parameter":
            raise ValueError(f"the input {name!r} is a {line.kind} of the equations; name another with input='...'")
        if line is not None:
            named[name] = _agreed(name, line, named[name] if isinstance(inputs, Mapping) else None)
    jumping = {behind(name): behind(variable) for name, variable in jumps.items()}
    return Drive({behind(name): unit for name, unit in named.items()}, jumping, several, tuple(named))


def _moving(line: Equation) -> bool:
    return line.kind != "subexpression" and "constant" not in line.flags


def unlinked(line: Equation, drive: Drive) -> Equation:
    """Return a line without the flag `linked`; raise ValueError if it has it and is not an input."""
    if "linked" not in line.flags:
        return line
    if behind(line.name) not in drive.units:
        others = ", ".join(map(repr, drive.given))
        several = f"inputs=({others}, {line.name!r})" if others not in ("", "'current'") else f"input={line.name!r}"
        raise ValueError(
            f"{str(line)!r} has in every step the value that another group has: make it an input, {several}, and give "
            "the values of that group"
        )
    return line._replace(flags=tuple(flag for flag in line.flags if flag != "linked"))


def by_cell(lines: Sequence[Equation], drive: Drive) -> list[Equation]:
    """Return lines in which what reads an input is not shared by all cells, each of which has its own input."""
    reads = {line.name: line.reads for line in lines}

    def silent(line: Equation) -> bool:
        return not drive.units.keys() & {behind(name) for name in effort.reach(line.name, reads)}

    def kept(line: Equation) -> tuple[str, ...]:
        shared = line.kind != "subexpression" or silent(line)
        return tuple(flag for flag in line.flags if flag != "shared" or shared)

    return [line._replace(flags=kept(line)) for line in lines]


def _units(inputs: Any, usual: str) -> dict[Any, str]:
    """Return the units of inputs, by name."""
    if isinstance(inputs, str) or not isinstance(inputs, Mapping | Sequence):
        raise ValueError(f"inputs={inputs!r}: give names, ('ge', 'gi'), or units by name, {{'ge': 'siemens'}}")
    units = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(inputs, usual)
    if len(units) < len(inputs):
        raise ValueError(f"inputs={inputs!r} has a name twice")
    return {name: grammar.unit(unit) for name, unit in units.items()}


def _agreed(name: str, line: Equation, unit: str | None) -> str:
    """Return the unit of a line of the equations; raise ValueError if that of the input is another."""
    b2 = brian2()
    ours, theirs = (b2.Equations(f"x : {each}")["x"].dim for each in (unit or line.unit, line.unit))
    if ours is not theirs:
        raise ValueError(
            f"the input {name!r} is in {unit} in inputs=, and {str(line)!r} says {line.unit}: make them one"
        )
    return line.unit


def require_driven(neuron: CompiledNeuron, text: Text, constants: Sequence[str]) -> None:
    """Raise ValueError where nothing reads the input, and a variable stays at 0 because nothing adds to it.

    A model that moves by itself is a model without an input; `build` refuses to train weights before it. Of several
    inputs, which are named, each has to be read.
    """
    if neuron.inputs and neuron.unheeded:
        raise ValueError(
            f"nothing reads the input {neuron.unheeded[0]!r}: add it to an equation, leave it out, or say to which "
            f"variable it is added, jumps={{{neuron.unheeded[0]!r}: ...}}"
        )
    declared = {line.name for line in text.lines}
    if neuron.input not in {None, "current", *declared} and not neuron.heeds:
        raise ValueError(unheard(neuron))
    silent = [] if neuron.heeds else unmoved(neuron, text)
    if silent:
        own = [line.name for line in text.lines if line.kind == "parameter"] + list(constants)
        named = f"name it with input=... (one of {', '.join(own)}), or " if own else ""
        raise ValueError(
            f"nothing reads the input {neuron.input!r}, and {', '.join(silent)} would stay at 0: add it to an "
            f"equation, {named}say to which variable synapses add, as in jumps={silent[0]!r}; or input=None for none"
        )


def unmoved(neuron: CompiledNeuron, text: Text) -> list[str]:
    """Return the variables that begin at 0 and stay there, whatever the others are, by steps from random states.

    One that the time, the index of a cell or a draw moves is not among them.
    """
    assigned = {statement.target for code in codes(text) for statement in code.statements}
    found = []
    rng = torch.Generator().manual_seed(0)
    moving = {*MOVING, *neuron.model.draws}
    zero = torch.zeros(max((len(start) for start in neuron.starts.values() if isinstance(start, Tensor)), default=8))
    zero = zero.double()
    for line in text.lines:
        moved = line.kind != "differential equation" or line.name in assigned
        if moved or neuron.model.update[line.name].names() & moving:
            continue
        state = neuron.initial_state(zero.shape, zero)
        if bool(getattr(state, line.name).any()):
            continue
        others = {name: torch.randn(zero.shape, generator=rng).double() for name in neuron.model.variables}
        state = state._replace(**{**others, line.name: zero})
        after = neuron.integrate(zero, state, 0.1)  # which has one input: several are all read
        if not bool(getattr(after, line.name).any()):
            found.append(line.name)
    return found
