"""What Brian2 makes of synaptic equations: units are checked, and each variable gets the code that advances it."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from rules.errors import unknown
from sandbox.reference.compiler.constants import check_times, quantity
from sandbox.reference.compiler.methods import chosen
from sandbox.reference.compiler.units import in_house
from sandbox.reference.compiler.updater import NOTHING, ask, check_code, group_of, quietly
from sandbox.reference.compiler.updater import Text as Cell
from sandbox.reference.compiler.written import Equation
from sandbox.reference.need import brian2
from sandbox.reference.synapses.pathways import Text, event_driven, read
from sandbox.reference.synapses.program import Program, compiled, ran, started, stepped


class Settings(NamedTuple):
    """What determines the rule, as plain data."""

    model: str
    on_pre: tuple[tuple[str, str], ...]
    on_post: tuple[tuple[str, str], ...]
    method: str | None
    namespace: tuple[tuple[str, str], ...]
    weight: str
    order: tuple[tuple[str, int], ...]
    initial: tuple[tuple[str, float], ...]


class Prepared(NamedTuple):
    """A model that is checked."""

    text: Text
    events: str  # code of a step of the event-driven variables
    clock: str  # of the clock-driven ones
    constants: dict[str, float]  # in house units
    starts: dict[str, float]
    fastest: float  # shortest constant that is a time [ms]; infinite without one
    dimensions: dict[str, Any]  # of Brian2, by variable


@lru_cache(maxsize=64)
def prepared(settings: Settings) -> Prepared:
    """Check a model, and let Brian2 write the code of a step; raise ValueError for what it or the grammar refuses."""
    b2 = brian2()
    space = {name: quantity(name, value) for name, value in settings.namespace}
    sides = {"pre": settings.on_pre, "post": settings.on_post}
    text = read(settings.model, sides, dict(settings.order), settings.weight, space)
    used = {name: value for name, value in space.items() if name in text.reads}
    check_times(used)
    plain = [line._replace(flags=tuple(f for f in line.flags if f in ("constant", "shared"))) for line in text.lines]
    with quietly():
        group = group_of(plain, used)
        names = {line.name for line in plain} | (text.reads - _local(text)) | called(text) | {"dt"}
        variables = group.resolve_all(names, {}, user_identifiers=set())
        for pathway in text.pathways:
            check_code(f"on_{pathway.side}", [each.text for each in pathway.statements], variables)
    starts = dict.fromkeys((name for name in text.variables if name != settings.weight), 0.0)
    _check_initial(text, dict(settings.initial), settings.weight)
    starts.update(settings.initial)
    times = [in_house(value) for value in used.values() if b2.get_dimensions(value) is b2.second.dim]
    found = Prepared(
        text,
        _advanced(text.lines, plain, True, "exact", used),
        _advanced(text.lines, plain, False, settings.method, used),
        {name: in_house(value) for name, value in used.items()},
        starts,
        min(times, default=math.inf),
        {name: variables[name].dim for name in text.variables},
    )
    _try(found, settings.weight)
    return found


@lru_cache(maxsize=64)
def program_of(settings: Settings, dt: float) -> Program:
    """Return the statements of a step of `dt` ms."""
    found = prepared(settings)
    return compiled(found.text, found.events, found.clock, found.constants, found.starts, dt)


def _check_initial(text: Text, given: Mapping[str, float], weight: str) -> None:
    """Raise ValueError for an unknown variable, the weight, and for a constant without a value."""
    for name in given:
        if name == weight:
            raise ValueError(f"initial has the weight {name!r}, and a sequence begins at the weights of the model")
        if name not in text.variables:
            raise unknown("variable in initial:", name, [each for each in text.variables if each != weight])
    for line in text.lines:
        if line.kind == "parameter" and line.flags and line.name not in given:
            raise ValueError(
                f"{str(line)!r} has no value; give it in initial={{{line.name!r}: ...}}. It is constant then: a "
                "reward, such as dopamine, enters by rules.make('r_stdp'), which reads it from batch.targets"
            )


def _local(text: Text) -> set[str]:
    """Return the names that statements use among themselves."""
    return {each.target for each in text.statements} - {line.name for line in text.lines}


def called(text: Text) -> set[str]:
    """Return the functions that equations and statements call."""
    trees = [line.expression.tree for line in text.lines if line.expression]
    trees += [each.expression.tree for each in text.statements]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _advanced(
    lines: Sequence[Equation], plain: Sequence[Equation], events: bool, method: str | None, used: Mapping[str, Any]
) -> str:
    """Return Brian2's code for the variables that are event-driven, or for the others, while the rest stands still."""
    kept = []
    for line, bare in zip(lines, plain, strict=True):
        still = line.kind == "differential equation" and event_driven(line) != events
        kept.append(bare._replace(kind="parameter", expression=None) if still else bare)
    if not any(line.kind == "differential equation" for line in kept):
        return ""
    try:
        return ask(Cell(kept, None, NOTHING, None), chosen(method), used, []).code
    except ValueError as error:
        if events:
            raise ValueError(
                f"{error}; an (event-driven) variable has a linear equation with constant coefficients, "
                "any other is (clock-driven)"
            ) from None
        raise


def _try(found: Prepared, weight: str) -> None:
    """Take a step; raise ValueError for what torch cannot compute, or for a singular step."""
    program = compiled(found.text, found.events, found.clock, found.constants, found.starts, 0.1)
    state = started(program, weight, torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64))
    # variables that begin at 0 begin at 0.5, so that dividing by one is not a mistake
    state = {name: value if bool(value.any()) else torch.full_like(value, 0.5) for name, value in state.items()}
    fired = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    try:
        moved, _ = ran(program.events, state)
        stepped(program, state, fired, fired, first=False)
    except (RuntimeError, TypeError, KeyError) as error:
        raise ValueError(
            f"the statements cannot be computed: {' '.join(str(error).split())}; a condition is a number as int(x > 1)"
        ) from None
    bad = next((name for name in state if not bool(torch.isfinite(moved[name]).all())), None)
    if bad is not None:
        times = ", ".join(f"{name}={value:g}" for name, value in found.constants.items() if name.startswith("tau"))
        raise ValueError(
            f"the exact solution of {bad!r} is not finite for these constants ({times}): it divides by the difference "
            "of two rates that are equal; make one differ by a part in 1e4, or use (clock-driven) and method='rk4'"
        )
