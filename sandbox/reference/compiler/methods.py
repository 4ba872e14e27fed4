"""Schemes by which Brian2 advances equations, by its names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rules.errors import unknown

METHODS = ("exact", "exponential_euler", "euler", "rk2", "rk4", "heun", "milstein")
ALSO = {"linear": "exact", "independent": "exact"}  # older names


def chosen(method: Any) -> tuple[str, ...]:
    """Return the names of the methods to try in turn; none for Brian2's choice.

    Raises:
        ValueError: for another name.

    >>> chosen("linear"), chosen(["exact", "euler"]), chosen(None)
    (('exact',), ('exact', 'euler'), ())
    """
    if method is None:
        return ()
    if not isinstance(method, str) and isinstance(method, Sequence):
        return tuple(dict.fromkeys(name for each in method for name in chosen(each)))
    name = ALSO.get(str(method), str(method))
    if name not in METHODS:
        raise unknown("method", str(method), METHODS)
    return (name,)
