"""Parameters of neurons as Brian2's quantities, units from text, and names of ours that no neuron has."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.reference.need import brian2

PERIOD = "period"  # of the cells that differ in it, before `private`


def refractoriness(neuron: Neuron) -> Any:
    """Return the refractory period of a neuron, as Brian2 takes it: the name of a variable where cells differ."""
    if neuron.refractory is not None:
        return neuron.refractory
    if several(neuron.t_refractory):
        return private(neuron, PERIOD)
    period = float(neuron.t_refractory)
    return period * brian2().ms if period or neuron.clamped else False


def of_cells(neuron: Neuron, shape: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters shared by cells of this shape, and those with a value for each, as quantities by name.

    Where refractory periods differ, they are among the latter under the name that `refractoriness` returns.
    """
    shared: dict[str, Any] = {name: each.in_brian2() for name, each in getattr(neuron, "called", {}).items()}
    own = {}
    for name in (field.name for field in fields(neuron) if field.name in neuron.units):
        value = torch.as_tensor(getattr(neuron, name), dtype=torch.float64).detach()
        if value.numel() > 1:
            own[name] = _each(value, shape) * unit(neuron.units[name])
        else:
            shared[name] = float(value) * unit(neuron.units[name])
    if several(neuron.t_refractory) and neuron.refractory is None:
        period = torch.as_tensor(neuron.t_refractory, dtype=torch.float64).detach()
        own[private(neuron, PERIOD)] = _each(period, shape) * brian2().ms
    return shared, own


def _each(value: Tensor, shape: Sequence[int]) -> Any:
    return value.expand(tuple(shape)).flatten().numpy()


def give(group: Any, values: dict[str, Any]) -> None:
    """Set variables of a group; one that all cells share has the value of the first."""
    for name, each in values.items():
        group.state(name)[:] = each.flatten()[0] if group.variables[name].scalar and each.ndim else each


def several(value: Any) -> bool:
    """Return whether a parameter has a value for each cell."""
    return isinstance(value, Tensor) and value.numel() > 1


def private(neuron: Neuron | None, name: str) -> str:
    """Return a name of ours in a group, with underscores behind it where the neuron has that name."""
    texts = "" if neuron is None else f"{neuron.equations}\n{neuron.threshold}\n{neuron.reset_code}"
    while neuron is not None and (name in neuron.units or re.search(rf"\b{name}\b", texts)):
        name += "_"
    return name


def stored(neuron: Neuron, name: str) -> str:
    """Return the name of the TimedArray with a current or with the random numbers of a neuron."""
    return private(neuron, f"stored_{name}")


def unit(text: str) -> Any:
    """Return a Brian2 unit from a product or quotient of names, or of their whole powers: "mV", "1/nA", "mV/ms".

    >>> unit("mV/ms")
    mvolt / msecond
    >>> unit("mVolt")
    Traceback (most recent call last):
    ValueError: unit 'mVolt': Brian2 has no unit 'mVolt'; write products and quotients of names such as mV, nA, Mohm, ms
    """
    try:
        return _evaluated(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"unit {text!r}: {error}; write products and quotients of names such as mV, nA, Mohm, ms"
        ) from None


def recorded(monitor: Any, name: str) -> Any:
    """Return what a StateMonitor recorded of a variable, `[N, T]`, also of one that is called as an attribute of it."""
    variable = monitor.variables[name]
    return brian2().Quantity(variable.get_value().T, dim=variable.dim)


def base(symbol: Any) -> str:
    """Return the dimension of a unit as it is written after the colon of an equation."""
    if brian2().is_dimensionless(symbol):
        return "1"
    text: str = repr(symbol.dim).replace("^", "**")
    return text


def _evaluated(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name):
            found = getattr(brian2(), name, None)
            if not isinstance(found, brian2().Unit):
                raise ValueError(f"Brian2 has no unit {name!r}")
            return found
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left, ast.Mult(), right):
            return _evaluated(left) * _evaluated(right)
        case ast.BinOp(left, ast.Div(), right):
            return _evaluated(left) / _evaluated(right)
        case ast.BinOp(left, ast.Pow(), ast.Constant(value=int() | float() as power)):
            return _evaluated(left) ** power
    raise ValueError(f"{ast.unparse(node)!r} is not a product, quotient or power")
