"""Constants of a namespace and initial values, as they are given: quantities, numbers, or text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.errors import unknown
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.formula import Formula, parse
from sandbox.reference.compiler.signals import Signal
from sandbox.reference.compiler.units import in_house, scale, symbols, text_of
from sandbox.reference.compiler.updater import Text, codes
from sandbox.reference.need import brian2

DRAWN = {"rand_drawn", "randn_drawn"}  # names in place of calls
OF_CELLS = {*DRAWN, "i", "N"}  # what differs by cell in an initial value


def quantity(name: str, value: Any) -> Any:
    """Return a constant of the namespace in a form that Brian2 accepts."""
    b2 = brian2()
    if isinstance(value, str):
        value = _from_text(name, value)
    if isinstance(value, Tensor):
        raise ValueError(
            f"{name} is a tensor; give its initial value with a unit here, then neuron.with_parameters({name}=...)"
        )
    if isinstance(value, b2.Function | Signal):
        raise ValueError(f"{name}={value!r:.60} is a signal or a function: call it, {name}(t)")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={value!r} is not a number; give a Brian2 quantity, a number, or text such as '20*ms'"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} is not finite; where no bound is meant, write inf in the equations")
    return value if isinstance(value, b2.Quantity) else number


def _from_text(name: str, text: str) -> Any:
    """Read a quantity from text: its value by our own parser, its dimension by Brian2's."""
    from brian2.units.fundamentalunits import Quantity

    formula = parse(text, symbols())
    if formula.names:
        raise unknown(f"unit in {name}={text!r}:", min(formula.names), ["ms", "mV", "nA", "Mohm", "nF", "uS"])
    try:
        dimension = dimension_of(text, {})
    except Exception as error:
        raise ValueError(f"{name}={text!r}: {error}") from None
    return Quantity(float(formula({})) * scale(dimension), dim=dimension)


def check_times(constants: Mapping[str, Any]) -> None:
    """Raise ValueError for a time constant, `tau...`, that is not positive."""
    b2 = brian2()
    for name, value in constants.items():
        if name.startswith("tau") and b2.get_dimensions(value) is b2.second.dim and not float(value) > 0:
            raise ValueError(
                f"{name}={value!r}: a time constant has to be positive; give 10*ms or the like in the namespace or, "
                "for a (constant) of the equations, in initial="
            )


def written(text: str) -> Formula:
    """Return an initial value that is text, with the units, pi, e and inf in it."""
    return parse(undrawn(text), {**symbols(), "pi": math.pi, "e": math.e, "inf": math.inf})


def dimension_of(text: str, known: Mapping[str, Any]) -> Any:
    """Return the dimension of an expression, over names of these dimensions, by Brian2's parser."""
    from brian2.core.functions import DEFAULT_FUNCTIONS
    from brian2.core.variables import Constant
    from brian2.parsing.expressions import parse_expression_dimensions

    b2 = brian2()
    names = grammar.expression(text).names
    dimensions = {name: getattr(b2, name).dim for name in names & symbols().keys()}
    dimensions |= {name: known[name] for name in names & known.keys()}
    plain = b2.get_dimensions(1.0)
    variables = {name: Constant(name, dimensions=dimensions.get(name, plain), value=1.0) for name in names}
    return parse_expression_dimensions(text, {**DEFAULT_FUNCTIONS, **variables})


def names_of_starts(initial: Mapping[str, Any]) -> set[str]:
    """Return the names that initial values read.

    >>> sorted(names_of_starts({"v": "E_L + rand() * 5*mV", "w": 0.0}))
    ['E_L', 'mV']
    """
    read = (parse(undrawn(text)).names for text in initial.values() if isinstance(text, str))
    return set().union(*read) - DRAWN


def undrawn(text: str) -> str:
    """Return text with names in place of the calls `rand()` and `randn()`.

    >>> undrawn("rand() * mV + randn( )")
    'rand_drawn * mV + randn_drawn'
    """
    return re.sub(r"\b(randn?)\s*\(\s*\)", r"\1_drawn", text)


def constants_of(
    text: Text, initial: Mapping[str, Any], known: Mapping[str, Any], inputs: Sequence[str]
) -> tuple[Text, dict[str, Any], dict[str, Tensor]]:
    """Return the model without its `(constant)` parameters, these as quantities, and those that differ by cell.

    Those that the refractoriness reads count as constant. A parameter that the reset assigns, a boolean, an integer and
    one whose value is text over `i`, `N` or draws stay variables of the state.

    Raises:
        ValueError: for a value of another unit, or that is not finite.
    """
    b2 = brian2()
    assigned = {statement.target for code in codes(text) for statement in code.statements}
    house = {name: in_house(value) for name, value in known.items()}
    waits = set(text.refractory.names) if text.refractory else set()
    found: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for line in text.lines:
        plain = line.unit in ("boolean", "integer") or line.name in assigned or line.name in inputs
        given = initial.get(line.name)
        plain = plain or (isinstance(given, str) and not written(given).names.isdisjoint(OF_CELLS))
        fixed = "constant" in line.flags or line.name in waits
        if line.kind != "parameter" or not fixed or plain:
            continue
        dimension = b2.Equations(str(line))[line.name].dim
        value = initial.get(line.name, 0.0)  # as in Brian2
        if isinstance(value, str):
            value = start_of(line.name, value, {line.name: dimension}, known)
            value = written(value)(house) if isinstance(value, str) else value
        if isinstance(value, b2.Quantity) and value.dim is not dimension:
            raise ValueError(f"initial {line.name}={value!r}: the unit of {str(line)!r} is {text_of(dimension)}")
        many = _many(line.name, value)
        if not isinstance(value, b2.Quantity):
            many = many * scale(dimension)
        if many.size > 1:
            tensors[line.name] = _each(line.name, b2.Quantity(many, dim=dimension))
        found[line.name] = b2.Quantity(many.mean() if many.size > 1 else many[0], dim=dimension)
    lines = [line for line in text.lines if line.name not in found]
    return text._replace(lines=lines), found, tensors


def start_of(name: str, value: Any, variables: Mapping[str, Any], constants: Mapping[str, Any]) -> float | str | Tensor:
    """Return an initial value in house units, one for each cell, or text over the constants, `i`, `N` and draws.

    Args:
        name: of the variable.
        value: a quantity, a number in house units, an array, or text.
        variables: the dimension of each variable; None where that is not known.
        constants: as quantities, by name.

    Raises:
        ValueError: for an unknown name, a value that is not finite, and one of another unit.
    """
    if name not in variables:
        raise unknown("variable in initial:", name, variables)
    b2, wanted = brian2(), variables[name]
    if not isinstance(value, str):
        if wanted is not None and isinstance(value, b2.Quantity) and value.dim is not wanted:
            raise ValueError(f"initial {name}={value!r}: the unit of {name!r} is {text_of(wanted)}")
        _many(name, value)
        return in_house(value) if np.ndim(value) == 0 else _each(name, value)
    for other in sorted(written(value).names - set(constants) - OF_CELLS):
        raise unknown(f"identifier in initial {name}={value!r}:", other, [*constants, "i", "N"])
    if wanted is None:
        return value
    known = {constant: b2.get_dimensions(each) for constant, each in constants.items()}
    try:
        found = dimension_of(undrawn(value), known)
    except Exception as error:  # Brian2 raises several kinds
        raise ValueError(f"initial {name}={value!r}: {' '.join(str(error).split())}") from None
    if found is not wanted:
        raise ValueError(f"initial {name}={value!r} is in {text_of(found)}: the unit of {name!r} is {text_of(wanted)}")
    return value


def _each(name: str, value: Any) -> Tensor:
    """Return an array of initial values, one for each cell, in house units."""
    b2 = brian2()
    many = _many(name, value)
    if isinstance(value, b2.Quantity):
        many = np.array([in_house(b2.Quantity(each, dim=value.dim)) for each in many])
    return torch.from_numpy(many.copy())


def _many(name: str, value: Any) -> Any:
    """Return the numbers of an initial value `[cells]`."""
    try:
        many = np.asarray(value, dtype=float)
    except (TypeError, ValueError, RuntimeError):  # of tensors that autograd follows
        many = None
    if many is None or many.ndim > 1:
        shown = " ".join(repr(value).split())
        raise ValueError(f"initial {name}={shown} is neither a number nor a list of them, [cells]: give one of these")
    if not many.size or not np.isfinite(many).all():
        raise ValueError(f"initial {name}={value!r} is not finite, or empty: give a number for each cell")
    return many.reshape(-1)
