"""What the options of a function mean, from the docstrings of all that takes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from rules import RULES, LearningRule
from rules.plasticity import SGD

BESIDE = {
    "optimizer": '"adam", "sgd" or "rmsprop"; with another than its own a rule takes the usual `lr` and `momentum` of '
    "that one, unless they are given."
}
ENTRY = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")
DEFAULT = re.compile(r"[,;] \S+ by default(?=[.;]|$)")  # recipes have defaults of their own


def meanings(function: Callable[..., Any]) -> dict[str, str]:
    """Return what each option of a function does, where a docstring says so.

    The function itself is asked first, then what its options are passed on to, and of a recipe the parts of the rule
    that it makes.

    >>> from rules import RULES
    >>> meanings(RULES["bptt"])["every"].split(",")[0]
    'time steps between two updates of the weights'
    """
    found = dict(BESIDE)
    made = [*parts(function()), LearningRule, SGD] if function in RULES.values() else []
    for source in (function, *taking(function), *made):
        found = arguments(inspect.getdoc(source) or "") | found
    return {name: DEFAULT.sub("", found[name]) for name in inspect.signature(function).parameters if name in found}


def arguments(text: str) -> dict[str, str]:
    r"""Return the entries of the section `Args:` of a docstring; several names may share one.

    >>> arguments("Add.\n\nArgs:\n    a, b: numbers,\n        or more.\n    c: another.\n\nReturns: their sum.")
    {'a': 'numbers, or more.', 'b': 'numbers, or more.', 'c': 'another.'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for line in text.partition("Args:\n")[2].splitlines():
        if entry := ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith("        "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        elif line.strip():
            break
    return found


def taking(function: Any) -> Iterator[Any]:
    """Yield the classes and functions that take the options of a function, and those that take theirs."""
    for other in getattr(function, "takes", ()):
        yield from classes(other) if isinstance(other, type) else (other,)
        yield from taking(vars(other).get("__init__") if isinstance(other, type) else other)


def classes(kind: type) -> Iterator[type]:
    """Yield a class and its bases."""
    yield from kind.__mro__[:-1]


def parts(whole: Any) -> Iterator[type]:
    """Yield the classes of the parts of a rule, and of theirs."""
    for field in fields(whole):
        part = getattr(whole, field.name)
        if is_dataclass(part) and not isinstance(part, type):
            yield from classes(type(part))
            yield from parts(part)
