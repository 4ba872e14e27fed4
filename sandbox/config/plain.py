"""Build the dataclasses of a configuration from plain data: nothing is imported, opened or called but themselves."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}


def build(hint: Any, value: Any, place: str, usual: Any = None) -> Any:
    """Return a value of the type of a field.

    Args:
        hint: the type.
        value: plain data.
        place: dotted path of the field, for messages.
        usual: default of the field; a value without a `name`, or with the same one, takes from it what it lacks.

    Raises:
        ValueError: for a value of another type; the message has the field, the value and what is allowed.

    >>> build(list[int | str], [30, "30r"], "network.hidden")
    [30, '30r']
    >>> build(int, "3", "seed")
    Traceback (most recent call last):
    ...
    ValueError: seed='3': give a whole number
    """
    if hint is Any:
        return _plain(value, place)
    if isinstance(hint, type) and is_dataclass(hint):
        return _dataclass(hint, value, place, usual)
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        fitting = [member for member in inner if _fits(member, value)]
        if not fitting:
            raise ValueError(f"{place}={value!r:.60}: give {_named(hint)}")
        return build(fitting[0], value, place, usual)
    if not _fits(hint, value):
        raise ValueError(f"{place}={value!r:.60}: give {_named(hint)}")
    if kind in (list, tuple):
        return kind(build(inner[0], each, f"{place}[{number}]") for number, each in enumerate(value))
    if kind is dict:
        return _plain(value, place)
    return _number(value, place) if hint is float else value


def _fits(hint: Any, value: Any) -> bool:
    """Return whether a value can be of a type, as far as its outermost layer shows."""
    kind = get_origin(hint) or hint
    if hint is Any:
        return True
    if isinstance(hint, type) and is_dataclass(hint):
        return isinstance(value, Mapping)
    if kind is float:
        return type(value) in (int, float)  # and no bool
    if kind is tuple:
        return isinstance(value, (list, tuple))
    return type(value) is kind


def _number(value: float, place: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{place} is a number of more than 300 digits: give one below 1e308") from None


def _dataclass(kind: type[Any], value: Any, place: str, usual: Any) -> Any:
    if not isinstance(value, Mapping):
        known = [field.name for field in fields(kind)]
        raise ValueError(f"{place}={value!r:.60}: give {{{known[0]}: ...}}, with any of {', '.join(known)}")
    hints, given = _hints(cast(Hashable, kind)), {}
    if type(usual) is kind and value.get("name", getattr(usual, "name", None)) == getattr(usual, "name", None):
        given = {field.name: getattr(usual, field.name) for field in fields(kind)}
    for field in fields(kind):
        path = f"{place}.{field.name}" if place else field.name
        if field.name in value:
            inherited = given.get(field.name, _default(field))
            given[field.name] = build(hints[field.name], value[field.name], path, inherited)
        elif field.name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{path} is missing; write {{{field.name}: ...}}")
    return kind(**given)


@lru_cache(maxsize=64)
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _plain(value: Any, place: str) -> Any:
    """Return a copy of plain data; raise ValueError for anything else."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{place}: {key!r:.60} is not the name of an option; write a word")
        return {key: _plain(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(each, f"{place}[{number}]") for number, each in enumerate(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"{place} is of the kind {type(value).__name__}: give numbers, words, lists and dicts")


def _named(hint: Any) -> str:
    """Return what a type allows, in words."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(_named(member) for member in inner)
    if kind in (list, tuple):
        return f"a list of {_named(inner[0]).removeprefix('a ')}s" if inner[0] in WORDS else "a list"
    if kind is dict or hint is dict:
        return "options, as in {lr: 0.01}"
    if isinstance(hint, type) and is_dataclass(hint):
        return f"{{{fields(hint)[0].name}: ...}}"
    return WORDS.get(hint, str(hint))
