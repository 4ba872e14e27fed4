"""The nodes for each torch operation, with the same order of roundings as torch's CPU kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch

from sandbox.kernels.trace.adjoint import WHOLE, whole_power
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.unsupported import Unsupported

Write = Callable[..., int]  # (graph, *places) -> place


def _same(kind: str) -> Write:
    return lambda graph, *args: graph.add(kind, *(number(graph, arg) for arg in args))


def _compared(kind: str) -> Write:
    return lambda graph, a, b: graph.add(kind, number(graph, a), number(graph, b))


def _added(graph: Graph, a: int, b: int, alpha: float = 1) -> int:
    """Add `a + alpha b`, which torch rounds only once if the processor has a fused multiply-add."""
    if alpha == 1:
        return graph.add("add", number(graph, a), number(graph, b))
    factor = graph.constant(alpha)
    if fused():
        return graph.add("fma", number(graph, b), factor, number(graph, a))
    return graph.add("add", number(graph, a), graph.add("mul", factor, number(graph, b)))


def _subtracted(graph: Graph, a: int, b: int, alpha: float = 1) -> int:
    return graph.add("sub", number(graph, a), number(graph, b)) if alpha == 1 else _added(graph, a, b, -alpha)


def _product_added(graph: Graph, a: int, b: int, c: int, value: float = 1) -> int:
    """Add `a + (value b) c`, whose last product and sum torch rounds once if the processor can."""
    first = number(graph, b) if value == 1 else graph.add("mul", graph.constant(value), number(graph, b))
    if fused():
        return graph.add("fma", first, number(graph, c), number(graph, a))
    return graph.add("add", number(graph, a), graph.add("mul", first, number(graph, c)))


def _quotient_added(graph: Graph, a: int, b: int, c: int, value: float = 1) -> int:
    """Add `a + (value b) / c`, where torch rounds each operation."""
    first = number(graph, b) if value == 1 else graph.add("mul", graph.constant(value), number(graph, b))
    return graph.add("add", number(graph, a), graph.add("div", first, number(graph, c)))


def _divided(graph: Graph, a: int, b: int, rounding_mode: str | None = None) -> int:
    """Add a quotient, rounded down or toward zero if asked for."""
    a, b = number(graph, a), number(graph, b)
    if rounding_mode == "floor":
        return graph.add("floordiv", a, b)
    quotient = graph.add("div", a, b)
    return graph.add("trunc", quotient) if rounding_mode == "trunc" else quotient


def _blended(graph: Graph, a: int, b: int, weight: int) -> int:
    """Add an interpolation; with a number as weight, `1 - weight` is a number as well, computed in float64 as in torch.

    Computed in the precision of the kernel, `1 - exp(-dt / tau)` would lose the digits that exp(-dt / tau) has lost.
    """
    value = _known(graph, weight)
    if value is None:
        return graph.add("lerp", a, b, weight)
    return graph.add("blend", a, b, weight, graph.constant(1 - value))


def _known(graph: Graph, place: int) -> float | None:
    """Return the value of a number of the neuron; None for any other node."""
    node = graph.nodes[place]
    return float(node.what) if node.kind in ("constant", "literal") else None


def _power(graph: Graph, base: int, exponent: int) -> int:
    """Add a power; integer and half exponents without the general function, as torch does for the smallest ones."""
    value = _known(graph, exponent)
    if value is None:
        return graph.add("pow", base, exponent)
    if value == round(value) if math.isfinite(value) else False:
        if abs(value) <= WHOLE:
            return whole_power(graph, base, int(value))
    elif abs(value) == 0.5:
        root = graph.add("sqrt", base)
        return root if value > 0 else graph.add("div", graph.literal(1.0), root)
    return graph.add("raised", base, exponent, graph.constant(value - 1))


def _clamped(graph: Graph, x: int, low: int | None = None, high: int | None = None) -> int:
    for bound, kind in ((low, "maximum"), (high, "minimum")):
        if bound is not None:
            x = graph.add(kind, x, bound)
    return x


def _cast(graph: Graph, x: int, **options: Any) -> int:
    """Add a conversion to the dtype of the step, or of a number to a condition."""
    dtype = options.get("dtype")
    if dtype == torch.bool:
        return x if graph.is_condition(x) else graph.add("ne", x, graph.literal(0.0))
    if dtype is not None and not dtype.is_floating_point:
        raise Unsupported(f"a conversion to {dtype}")
    return number(graph, x)


def _truth(kind: str) -> Write:
    return lambda graph, *args: graph.add(kind, *(_cast(graph, arg, dtype=torch.bool) for arg in args))


def number(graph: Graph, place: int) -> int:
    """Return a condition as a number, 0 or 1; a number unchanged."""
    if not graph.is_condition(place):
        return place
    return graph.add("where", place, graph.literal(1.0), graph.literal(0.0))


def _chosen(graph: Graph, condition: int, a: int, b: int) -> int:
    return graph.add("where", condition, number(graph, a), number(graph, b))


def _signed(graph: Graph, x: int) -> int:
    return graph.add("sign", number(graph, x))


ATEN: Mapping[str, Write] = {
    **{
        name: _same(name)
        for name in (
            "mul",
            "neg",
            "abs",
            "sqrt",
            "exp",
            "expm1",
            "log",
            "log1p",
            "log10",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "asin",
            "acos",
            "atan",
            "sigmoid",
            "erf",
            "erfc",
            "floor",
            "ceil",
            "trunc",
        )
    },
    **{name: _compared(name) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    "add": _added,
    "sub": _subtracted,
    "rsub": lambda graph, a, b, alpha=1: _subtracted(graph, b, a, alpha),
    "addcmul": _product_added,
    "addcdiv": _quotient_added,
    "lerp": lambda graph, a, b, weight: _blended(graph, number(graph, a), number(graph, b), number(graph, weight)),
    "maximum": _same("larger"),
    "minimum": _same("smaller"),
    "div": _divided,
    "reciprocal": lambda graph, x: graph.add("div", graph.literal(1.0), x),
    "rsqrt": lambda graph, x: graph.add("div", graph.literal(1.0), graph.add("sqrt", x)),
    "square": lambda graph, x: graph.add("mul", x, x),
    "pow": _power,
    "remainder": _same("mod"),
    "sgn": _signed,
    "sign": _signed,
    "clamp": _clamped,
    "hardtanh": lambda graph, x, low=None, high=None: _clamped(
        graph, x, graph.literal(-1.0) if low is None else low, graph.literal(1.0) if high is None else high
    ),
    "clamp_min": lambda graph, x, low: _clamped(graph, x, low),
    "clamp_max": lambda graph, x, high: _clamped(graph, x, None, high),
    "where": _chosen,
    "_to_copy": _cast,
    "detach": lambda graph, x: graph.add("stop", x),
    "alias": lambda graph, x: x,
    "clone": lambda graph, x, **_: x,
    "logical_and": _truth("and"),
    "logical_or": _truth("or"),
    "logical_not": _truth("not"),
    "bitwise_and": _truth("and"),
    "bitwise_or": _truth("or"),
    "bitwise_not": _truth("not"),
}


@lru_cache(maxsize=1)
def fused() -> bool:
    """Return whether torch rounds `a + alpha b` only once on this processor."""
    a, b = torch.full((64,), -1.0, dtype=torch.float64), torch.full((64,), 1 + 2.0**-30, dtype=torch.float64)
    return bool((torch.add(a, b, alpha=1 - 2.0**-30) != 0).all())  # the product is 1 - 2^-60, which rounds to 1
