"""Values of fields and options, checked against the types that they declare."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, Protocol, Union, get_args, get_origin, get_type_hints, runtime_checkable

import numpy as np
from torch import Tensor

from rules.errors import unknown

WORDS = {
    bool: "true or false",
    int: "a whole number of at most 63 bits",
    float: "a finite number",
    str: "text",
    type(None): "nothing (null)",
}
PLAIN = (bool, int, float, str, type(None), list, tuple, dict)
LONGEST = 80  # characters of a value in a message


@runtime_checkable
class Named(Protocol):
    """A class whose objects may be given by name, as a configuration file gives them."""

    def from_name(self, name: str) -> Any:
        """Return the object of that name; a class method."""


def admit(where: str, value: Any, hint: Any) -> Any:
    """Return a value for a field of this type, as plain data.

    NumPy scalars and tensors without dimensions become numbers, paths become text, whole numbers become floats where a
    float is wanted, and lists and tuples become each other. Nothing else is converted: true is not a number, 2.0 is not
    a whole number, and "2" is not a number.

    Args:
        where: name of the field, for the message.
        value: what was given.
        hint: type of the field; `Any` refuses only numbers that are not finite.

    Raises:
        ValueError: with the field, the value, and what is allowed.

    >>> admit("steps", np.int64(3), int | None), admit("rate", 1, float)
    (3, 1.0)
    >>> admit("rate", True, float)
    Traceback (most recent call last):
    ...
    ValueError: rate=True: give a finite number; true and false are not numbers
    >>> admit("steps", 2.0, int)
    Traceback (most recent call last):
    ...
    ValueError: steps=2.0: give a whole number of at most 63 bits, 2
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return _either(where, value, hint, parts)
    if kind is Literal:
        return _one_of(where, value, parts)
    if kind in WORDS:
        return _scalar(where, value, kind)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return _mapping(where, value, hint, parts)
    if isinstance(kind, type) and issubclass(kind, (list, tuple, Collection)) and kind.__module__ != "torch":
        return _items(where, value, hint, kind, parts)
    if hint is Any or not isinstance(kind, type):
        return _anything(where, value)
    return _object(where, value, kind)


def check_fields(settings: Any) -> None:
    """Check every field of a frozen dataclass against its type, and replace what `admit` converts.

    Raises:
        ValueError: as `admit`.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     rate: float = 0.1
    ...     def __post_init__(self): check_fields(self)
    >>> Settings(np.float32(0.5)), Settings(2)
    (Settings(rate=0.5), Settings(rate=2.0))
    """
    hints = hints_of(type(settings))
    for field in fields(settings):
        given = getattr(settings, field.name)
        found = admit(field.name, given, hints.get(field.name, Any))
        if found is not given:
            object.__setattr__(settings, field.name, found)


def hints_of(maker: Any) -> Mapping[str, Any]:
    """Return the types of the arguments of a function or class, those that `rules.options.also_takes` adds among them.

    A type that cannot be found, because it is imported for type checkers alone, leaves all of them out.
    """
    return _hints(maker)


@cache
def _hints(maker: Any) -> Mapping[str, Any]:
    function: Any = maker
    if inspect.isclass(maker) and not is_dataclass(maker):
        function = vars(maker).get("__init__", maker)
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        hints = {}
    taken: dict[str, Any] = {}
    for other in vars(function).get("takes", ()) if hasattr(function, "__dict__") else ():
        taken |= hints_of(other)
    return {**taken, **hints}


def at_least(least: float, settings: Any, *names: str) -> None:
    """Raise ValueError for the first of these fields that is below `least`; None passes.

    >>> from types import SimpleNamespace
    >>> at_least(0, SimpleNamespace(momentum=0.9, lr=-1.0), "momentum", "lr")
    Traceback (most recent call last):
    ...
    ValueError: lr=-1.0: give a number of at least 0
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= least:
            raise ValueError(f"{name}={shown(value)}: give a number of at least {least:g}")


def is_plain(value: Any) -> bool:
    """Return whether a value is plain data, as a configuration holds it: numbers, text, lists and dicts of them."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return type(value) in PLAIN


def shown(value: Any) -> str:
    """Return a value for a message, in at most 80 characters."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # a whole number of thousands of digits
        text = f"a whole number of {int(value).bit_length()} bits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def words(hint: Any) -> str:
    """Return a type as words.

    >>> words(int | None), words(list[float]), words(Literal["a", "b"])
    ('a whole number of at most 63 bits or nothing (null)', 'a list of finite numbers', "'a' or 'b'")
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in WORDS:
        return WORDS[kind]
    if kind in (Union, types.UnionType):
        return _or([words(part) for part in parts])
    if kind is Literal:
        return _or([repr(part) for part in parts])
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "names with their values, {name: value}"
    if isinstance(kind, type) and issubclass(kind, Collection) and parts:
        several = words(parts[0]).removeprefix("a ").replace("number", "numbers")
        many = f"{len(parts)} " if kind is tuple and Ellipsis not in parts else ""
        return f"a list of {many}{several}"
    if isinstance(kind, Named):
        return f"the name of a {kind.__name__.lower()}"  # type: ignore[attr-defined]
    if is_dataclass(kind):
        return f"settings, {{{fields(kind)[0].name}: ...}}"
    return f"an object of class {getattr(kind, '__name__', str(kind))}"


def _or(options: Iterable[str]) -> str:
    *first, last = options
    return f"{', '.join(first)} or {last}" if first else last


def refused(where: str, value: Any, hint: Any, remedy: str = "") -> ValueError:
    """Return an error with the field, the value, what is allowed, and a remedy."""
    return ValueError(f"{where}={shown(value)}: give {words(hint)}{remedy}")


def _scalar(where: str, value: Any, kind: Any) -> Any:
    value = _plain(value)
    if kind in (int, float) and isinstance(value, bool):
        raise refused(where, value, kind, "; true and false are not numbers")
    if kind in (int, float) and isinstance(value, str):
        raise refused(where, value, kind, "; this is text" + ", leave out its quotes" * _is_number(value))
    if kind is float and isinstance(value, (int, float)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise refused(where, value, kind)
        return value if isinstance(value, float) else number  # a subclass stays, such as a number that is to be learned
    if kind is int and isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        raise refused(where, value, kind, f", {int(value)}")
    if kind is int and isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if kind is str and isinstance(value, (bool, int, float)):
        raise refused(where, value, kind, f"; put it in quotes if it is a name, '{value}'" * (len(shown(value)) < 30))
    if kind not in (int, float) and isinstance(value, kind):
        return value
    raise refused(where, value, kind)


def _plain(value: Any) -> Any:
    """Return NumPy scalars and tensors without dimensions as numbers, and paths as text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor) and value.ndim == 0 and not value.is_meta:
        return value.item()
    return str(value) if isinstance(value, PurePath) else value


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _either(where: str, value: Any, hint: Any, parts: tuple[Any, ...]) -> Any:
    problem: ValueError | None = None
    if value is None and type(None) in parts:
        return None
    for part in parts:
        try:
            return admit(where, value, part)
        except ValueError as error:
            inside = not str(error).startswith(f"{where}=")  # of an item: it says more than that no part fits
            problem = error if inside or (len(parts) == 2 and parts[1 - parts.index(part)] is type(None)) else problem
    if value is None or problem is None or str(problem).startswith(f"{where}="):
        numbers = [part for part in parts if part in (int, float)]
        if len(numbers) == 1 and problem is not None and "; t" in str(problem):
            remedy = str(problem).partition(";")[2]
            raise refused(where, value, hint, f";{remedy}")
        raise refused(where, value, hint)
    raise problem


def _one_of(where: str, value: Any, parts: tuple[Any, ...]) -> Any:
    value = _plain(value)
    if any(value == part and type(value) is type(part) for part in parts):
        return value
    if isinstance(value, str):
        raise unknown(where, value, map(str, parts))
    raise refused(where, value, Literal[parts])


def _mapping(where: str, value: Any, hint: Any, parts: tuple[Any, ...]) -> Any:
    if not isinstance(value, Mapping):
        raise refused(where, value, hint)
    inner = parts[1] if len(parts) == 2 else Any
    for key in value:
        if not isinstance(key, str):
            raise ValueError(f"{where}: the key {shown(key)} is not text; put it in quotes")
    found = {key: admit(f"{where}.{key}", each, inner) for key, each in value.items()}
    return value if all(found[key] is each for key, each in value.items()) else found


def _items(where: str, value: Any, hint: Any, kind: type, parts: tuple[Any, ...]) -> Any:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple, set, frozenset)):
        raise refused(where, value, hint)
    if kind is tuple and parts and Ellipsis not in parts:
        if len(value) != len(parts):
            raise ValueError(f"{where}={shown(value)}: give {len(parts)} values, and these are {len(value)}")
        each = list(parts)
    else:
        each = [parts[0] if parts else Any] * len(value)
    found = [admit(f"{where}[{n}]", one, of) for n, (one, of) in enumerate(zip(value, each, strict=True))]
    wanted = kind if kind in (list, tuple, set, frozenset) else type(value)
    same = type(value) is wanted and all(a is b for a, b in zip(found, value, strict=True))
    return value if same else wanted(found)


def _anything(where: str, value: Any) -> Any:
    value = _plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}={value}: give a value that is finite")
    if isinstance(value, dict):
        return _mapping(where, value, Mapping[str, Any], (str, Any))
    return _items(where, value, list[Any], type(value), (Any, ...)) if type(value) in (list, tuple) else value


def _object(where: str, value: Any, kind: type) -> Any:
    if isinstance(value, str) and isinstance(kind, Named):
        return kind.from_name(value)
    protocol = getattr(kind, "_is_protocol", False) or kind.__module__ == "collections.abc"
    fits = callable(value) and not isinstance(value, PLAIN) if protocol else isinstance(value, kind)
    if not fits:
        raise refused(where, value, kind)
    return value
