"""What Brian2's users hold, as text and plain values: `Equations`, a `NeuronGroup`, names that are ours, methods."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sandbox.reference.compiler.names import RESERVED
from sandbox.reference.compiler.written import Equation
from sandbox.reference.need import brian2

BASE = ("metre", "kilogram", "second", "amp", "kelvin", "mole", "candle")  # in the order of Brian2's dimensions
TAKEN = frozenset(RESERVED) - {"dt", "not_refractory"}  # those are Brian2's as well
SHORT = ("volt", "amp", "second", "siemens", "ohm", "farad", "hertz")


class Given(NamedTuple):
    """The arguments of `from_brian2`, as it was called or as a group has them."""

    equations: str
    threshold: str | None
    reset: str | None
    refractory: Any
    method: Any
    namespace: dict[str, Any]
    initial: dict[str, Any]
    events: dict[str, Any]


def given(equations: Any, **others: Any) -> Given:
    """Return the arguments; of a NeuronGroup those that it was made with, and its present values.

    Raises:
        ValueError: for what is neither text, `Equations` nor a group, and for arguments beside a group that it has.
    """
    b2 = brian2()
    if isinstance(equations, b2.NeuronGroup):
        beside = sorted(name for name in ("threshold", "reset", "refractory", "events") if others[name] is not None)
        if beside:
            raise ValueError(f"{', '.join(beside)} beside a NeuronGroup, which has its own: leave them out")
        return _of_group(equations, **others)
    if isinstance(equations, b2.Synapses):
        raise ValueError(
            "the equations are brian2.Synapses: sandbox.from_brian2_synapses compiles these, from their texts"
        )
    text = text_of_equations(equations) if isinstance(equations, b2.Equations) else equations
    return Given(text, **{**others, "events": dict(others["events"] or {})})


def text_of_equations(equations: Any) -> str:
    r"""Return `brian2.Equations` as text, each unit in base units.

    >>> import brian2 as b2
    >>> print(text_of_equations(b2.Equations("dv/dt = (R*I - v) / tau : volt\nI : amp / metre**2", tau="tau_m")))
    dv/dt = (R*I - v) / tau_m : volt
    I : amp/metre**2
    """
    lines = []
    for line in equations.values():
        unit = {"float": base_text(line.dim)}.get(line.var_type, line.var_type)
        left = f"d{line.varname}/dt = {line.expr}" if line.type == "differential equation" else line.varname
        left = f"{left} = {line.expr}" if line.type == "subexpression" else left
        lines.append(f"{left} : {unit}" + (f" ({', '.join(line.flags)})" if line.flags else ""))
    return "\n".join(lines)


def base_text(dimension: Any) -> str:
    """Return a dimension as Brian2 reads it behind a colon: "volt", "amp/metre**2", "1".

    >>> import brian2 as b2
    >>> base_text(b2.volt.dim), base_text((b2.siemens / b2.metre**2).dim), base_text((1 / b2.second).dim)
    ('volt', 'siemens/metre**2', 'hertz')
    """
    b2 = brian2()
    if dimension.is_dimensionless:
        return "1"
    for name in SHORT:
        for power, behind in ((0, ""), (-2, "/metre**2"), (-3, "/metre**3")):
            if (getattr(b2, name) * b2.metre**power).dim is dimension:
                return name + behind
    return "*".join(
        name if power == 1 else f"{name}**{power:g}"
        for name, power in zip(BASE, map(float, dimension._dims), strict=True)
        if power
    )


def callers(namespace: Any, level: int) -> dict[str, Any]:
    """Return a namespace; for the word "caller" the variables where `from_brian2` was called, local ones first."""
    if namespace == "caller":
        frame = inspect.currentframe()
        for _ in range(level + 1):
            frame = None if frame is None else frame.f_back
        return {} if frame is None else {**frame.f_globals, **frame.f_locals}
    if namespace is not None and not isinstance(namespace, Mapping):
        raise ValueError(
            f"namespace={namespace!r} is a {type(namespace).__name__}: give a dictionary of constants, or "
            "namespace='caller' for the variables around the call"
        )
    return dict(namespace or {})


def freed(lines: Sequence[Equation], others: Sequence[Any], known: Iterable[str]) -> tuple[list[Equation], list[Any]]:
    """Return lines and further texts in which names that every neuron has get an underscore behind, as in `step_`.

    >>> from sandbox.reference.compiler import grammar
    >>> lines = grammar.equations("dkey/dt = -key / tau : 1 (unless refractory)")
    >>> (line,), others = freed(lines, [grammar.expression("key > 1"), None], ["tau"])
    >>> str(line), others
    ('dkey_/dt = -key_ / tau : 1 (unless refractory)', ['key_ > 1', None])
    """
    taken = {*(line.name for line in lines), *known} & TAKEN
    if not taken:
        return list(lines), list(others)
    changes = {name: behind(name) for name in taken}
    return [line.renamed(changes) for line in lines], [each and each.renamed(changes) for each in others]


def behind(name: str) -> str:
    """Return a name with an underscore behind it, if it is one that every neuron has."""
    return f"{name}_" if name in TAKEN else name


def _of_group(group: Any, method: Any, namespace: Mapping[str, Any], initial: Mapping[str, Any], **_: Any) -> Given:
    """Return what a group was made with, and the values that its variables have now."""
    b2 = brian2()
    equations = group.user_equations
    refractory = group._refractory
    values = {}
    for name in (*equations.diff_eq_names, *equations.parameter_names):
        variable = group.variables[name]
        found = np.asarray(variable.get_value(), dtype=float).reshape(-1)
        value = found[0] if found.size and (found == found[0]).all() else found
        values[name] = value if variable.dim.is_dimensionless else b2.Quantity(value, dim=variable.dim)
    return Given(
        text_of_equations(equations),
        group.events.get("spike"),
        group.event_codes.get("spike"),
        None if refractory is False else refractory,
        method if method is not None else group.method_choice,
        {**dict(group.namespace), **namespace},
        {**values, **initial},
        {
            name: (condition, group.event_codes[name])
            for name, condition in group.events.items()
            if name != "spike" and name in group.event_codes
        },
    )
