"""Reads the models of this folder: each is what Brian2 takes, as text, and where it was published.

A table `[[model]]` has

    name, source      what it is and where it stands
    equations         as for brian2.NeuronGroup; threshold, reset, refractory and method likewise, where it has them
    as_equations      true where the source makes brian2.Equations of the text
    events            further events: the condition `when`, and `do`, the statements that run on it
    constants         text such as "10 * ms", or numbers
    initial           numbers, text as in Brian2, or a list with a value for each of the eight cells
    signals           TimedArrays: values [n] or [n, 8] in SI units, each for `dt`
    links             linked variables: the group that has them, by the same entries and its number of cells
    inputs            parameters that are inputs, and the scale of what the test stores for each
    jumps             variables that synapses add to, and the scale of what the test adds
    functions         functions that the source defines, which stand in `OWN`
    dt                time step [ms]; 0.1 if none is given
    quiet             true where nothing fires in the test, of a model with a threshold
    rounding          [bound, reason]: how far rounding errors grow in the test, relative to the largest value
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import brian2 as b2
import numpy as np

from sandbox.reference.compiler.constants import quantity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent
CELLS = 8
EMPTY: Mapping[str, Any] = MappingProxyType({})


class Facts(NamedTuple):
    """A model as its source has it."""

    name: str
    source: str
    family: str
    equations: str
    threshold: str | None = None
    reset: str | None = None
    refractory: Any = None
    method: Any = None
    events: Mapping[str, Any] = EMPTY
    as_equations: bool = False
    constants: Mapping[str, Any] = EMPTY
    initial: Mapping[str, Any] = EMPTY
    signals: Mapping[str, Any] = EMPTY
    links: Mapping[str, Any] = EMPTY
    functions: Sequence[str] = ()
    inputs: Mapping[str, Any] = EMPTY
    jumps: Mapping[str, Any] = EMPTY
    dt: float = 0.1
    quiet: bool = False
    rounding: Any = None

    @property
    def has_ode(self) -> bool:
        """Whether it has a differential equation."""
        return bool(b2.Equations(self.equations).diff_eq_names)

    @property
    def text(self) -> Any:
        """The equations as the source hands them to Brian2."""
        return b2.Equations(self.equations) if self.as_equations else self.equations

    @property
    def driven(self) -> dict[str, Any]:
        """The scale of each stored input, by the variable that it is, or that it is added to."""
        return {**self.inputs, **self.jumps}

    def named(self) -> dict[str, Any]:
        """Return what tells `from_brian2` of the inputs: their names, and the variables that they are added to."""
        names = [*self.inputs, *self.links]
        if len(names) + len(self.jumps) > 1:
            found = {"inputs": tuple(names), "jumps": {f"to_{name}": name for name in self.jumps}}
            return {key: given for key, given in found.items() if given}
        free = "w" if "w" not in b2.Equations(self.equations).names else "kick"
        return {"input": next(iter(names), free if self.jumps else None), "jumps": next(iter(self.jumps), None)}

    def period(self) -> Any:
        """Return the refractory time as a quantity where it is a number with a unit, and the text otherwise."""
        if not isinstance(self.refractory, str):
            return self.refractory
        try:
            return quantity("refractory", self.refractory)
        except ValueError:
            return self.refractory


def value(name: str, given: Any) -> Any:
    """Return a constant as Brian2 takes it."""
    return quantity(name, given) if isinstance(given, str) else given


def many(name: str, given: list[Any]) -> Any:
    """Return the values of the cells."""
    each = [value(name, one) for one in given]
    return b2.Quantity([float(one) for one in each], dim=b2.get_dimensions(each[0]))


def start(name: str, given: Any) -> Any:
    """Return an initial value as Brian2 takes it: text stays text."""
    return many(name, given) if isinstance(given, list) else given


def signal(given: dict[str, Any]) -> Any:
    """Return a TimedArray."""
    unit = quantity("unit", given["unit"]) if isinstance(given["unit"], str) else given["unit"]
    return b2.TimedArray(np.array(given["values"], dtype=float) * unit, dt=quantity("dt", given["dt"]))


def namespace(facts: Facts) -> dict[str, Any]:
    """Return the constants and signals of a model, as Brian2 takes them."""
    found = {name: value(name, given) for name, given in facts.constants.items()}
    return found | {name: signal(given) for name, given in facts.signals.items()}


def models() -> dict[str, Facts]:
    """Return all models by name, in the order of the files."""
    found = [
        Facts(family=path.stem.replace("_", " "), **model)
        for path in sorted(FOLDER.glob("*.toml"))
        for model in tomllib.loads(path.read_text())["model"]
    ]
    return {each.name: each for each in found}
