"""Where an undriven membrane rests."""

from __future__ import annotations

from collections.abc import Callable


def lowest_root(f: Callable[[float], float], low: float, high: float, pieces: int = 400) -> float:
    """The first sign change of `f` above `low`, to rounding; `high` where there is none.

    >>> lowest_root(lambda x: x**2 - 2, 0.0, 2.0)
    1.414213562373095
    """
    a = low
    for number in range(1, pieces + 1):
        b = low + (high - low) * number / pieces
        if f(a) * f(b) <= 0:
            return _bisected(f, a, b)
        a = b
    return high


def _bisected(f: Callable[[float], float], a: float, b: float) -> float:
    for _ in range(60):
        middle = (a + b) / 2
        a, b = (a, middle) if f(a) * f(middle) <= 0 else (middle, b)
    return (a + b) / 2
