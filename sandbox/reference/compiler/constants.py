"""Constants of a namespace and initial values, as they are given: quantities, numbers, or text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from rules.errors import unknown
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.formula import parse
from sandbox.reference.compiler.units import in_house, scale, symbols
from sandbox.reference.need import brian2


def quantity(name: str, value: Any) -> Any:
    """Return a constant of the namespace in a form that Brian2 accepts."""
    b2 = brian2()
    if isinstance(value, str):
        value = _from_text(name, value)
    if isinstance(value, Tensor):
        raise ValueError(
            f"{name} is a tensor; give its initial value with a unit here, then neuron.with_parameters({name}=...)"
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={value!r} is not a number; give a Brian2 quantity, a number, or text such as '20*ms'"
        ) from None
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} is not finite")
    return value if isinstance(value, b2.Quantity) else number


def _from_text(name: str, text: str) -> Any:
    """Read a quantity from text: its value by our own parser, its dimension by Brian2's."""
    from brian2.parsing.expressions import parse_expression_dimensions
    from brian2.units.fundamentalunits import Quantity

    formula = parse(text, symbols())
    if formula.names:
        raise unknown(f"unit in {name}={text!r}:", min(formula.names), ["ms", "mV", "nA", "Mohm", "nF", "uS"])
    b2 = brian2()
    used = {unit: getattr(b2, unit) for unit in grammar.names(grammar.expression(text))}
    from brian2.core.variables import Constant

    variables = {unit: Constant(unit, dimensions=value.dim, value=float(value)) for unit, value in used.items()}
    try:
        dimension = parse_expression_dimensions(text, variables)
    except Exception as error:
        raise ValueError(f"{name}={text!r}: {error}") from None
    return Quantity(float(formula({})) * scale(dimension), dim=dimension)


def check_times(constants: Mapping[str, Any]) -> None:
    """Raise ValueError for a time constant, `tau...`, that is not positive."""
    b2 = brian2()
    for name, value in constants.items():
        if name.startswith("tau") and b2.get_dimensions(value) is b2.second.dim and not float(value) > 0:
            raise ValueError(f"{name}={value!r} in the namespace: a time constant has to be positive, as in 10*ms")


def start_of(name: str, value: Any, variables: Sequence[str], constants: Mapping[str, Any]) -> float | str:
    """Return an initial value in house units, or text over the constants."""
    if name not in variables:
        raise unknown("variable in initial:", name, variables)
    if not isinstance(value, str):
        return in_house(value)
    for other in sorted(parse(value, symbols()).names - set(constants)):
        raise unknown(f"identifier in initial {name}={value!r}:", other, constants)
    return value
