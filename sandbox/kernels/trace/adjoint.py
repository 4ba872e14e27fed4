"""Reverse-mode differentiation of a graph: partial derivatives from SymPy, the chain rule as more nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sandbox.kernels.trace.graph import LEAVES, Graph
from sandbox.kernels.trace.kinds import KINDS

NAMES = ("a", "b", "c", "d")
WHOLE = 16  # exponents up to this are written as products


def adjoint(
    graph: Graph, seeds: Mapping[int, list[int]], wanted: list[int], surrogate: Callable[[int, int], int]
) -> dict[int, int]:
    """Add the nodes of `sum_i seed_i d(node_i) / d(wanted_j)`; return their places by j.

        bar(x) = sum over the nodes y that read x of bar(y) dy/dx

    Args:
        graph: to which the nodes are added.
        seeds: the seeds of each node, by place.
        wanted: places of the nodes with respect to which to differentiate.
        surrogate: adds `g(u)` for the places of a spike node and of its `u`, and returns its place.

    Returns: the gradients by place; a wanted node on which no seeded node depends is left out.
    """
    bars: dict[int, list[int]] = {place: list(given) for place, given in seeds.items()}
    live = _influenced(graph, wanted)
    for place in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[place]
        if place not in bars or place not in live or node.kind in LEAVES:
            continue
        bar = _total(graph, bars[place])
        bars[place] = [bar]
        for argument, slope in zip(node.args, slopes(node.kind), strict=True):
            if argument not in live or slope is None:
                continue
            if slope == "surrogate":
                term = _chained(graph, bar, surrogate(place, argument))
            else:
                term = _passed(graph, bar, slope, node.args, place)
            bars.setdefault(argument, []).append(term)
    return {place: _total(graph, bars[place]) for place in wanted if place in bars}


@cache
def slopes(kind: str) -> tuple[Any, ...]:
    """Return the partial derivatives of a kind, as SymPy expressions of its arguments and its value y."""
    import sympy  # type: ignore[import-untyped]

    entry = KINDS[kind]
    symbols = sympy.symbols(NAMES[: entry.arity])
    functions = {name: sympy.Function(name) for name in KINDS if not hasattr(sympy, name)}
    functions |= {"sign": sympy.Function("sign"), "floor": sympy.Function("floor")}
    if entry.formula is None:
        return tuple(
            slope if slope in (None, "surrogate") else sympy.sympify(slope, locals=functions) for slope in entry.slopes
        )
    formula = sympy.sympify(entry.formula)
    y = sympy.Symbol("y")
    return tuple(sympy.diff(formula, symbol).subs(formula, y) for symbol in symbols)


def _influenced(graph: Graph, wanted: list[int]) -> set[int]:
    live = set(wanted)
    for place, node in enumerate(graph.nodes):
        if live.intersection(node.args):
            live.add(place)
    return live


def _total(graph: Graph, terms: list[int]) -> int:
    total = terms[0]
    for term in terms[1:]:
        total = graph.add("add", total, term)
    return total


def _passed(graph: Graph, bar: int, slope: Any, args: tuple[int, ...], place: int) -> int:
    """Add `bar * slope`; one or the other of two products for a choice, so that 0 times infinity is 0, as in torch."""
    if slope.is_number and float(slope) == 0:
        return graph.literal(0.0)
    if slope.func.__name__ != "where":
        return _chained(graph, bar, _written(graph, slope, args, place))
    condition, *choices = slope.args
    chosen = [_passed(graph, bar, choice, args, place) for choice in choices]
    return graph.add("where", _written(graph, condition, args, place), *chosen)


def _chained(graph: Graph, bar: int, factor: int) -> int:
    """Add `bar * factor`; for a negative literal or 1 / y, negate or divide instead: one rounding."""
    node = graph.nodes[factor]
    if node.kind == "neg" and graph.nodes[node.args[0]].kind == "literal":
        return graph.add("neg", _chained(graph, bar, node.args[0]))
    if node.kind == "div" and graph.nodes[node.args[0]].what == "1.0":
        return graph.add("div", bar, node.args[1])
    return graph.add("mul", bar, factor)


def _written(graph: Graph, expression: Any, args: tuple[int, ...], place: int) -> int:
    """Add the nodes of a SymPy expression."""
    if expression.is_Symbol:
        return {**dict(zip(NAMES, args, strict=False)), "y": place}[expression.name]
    if expression.is_number:
        return _number(graph, float(expression))
    parts = [_written(graph, part, args, place) for part in expression.args]
    if expression.is_Add:
        return _sum(graph, expression.args, parts)
    if expression.is_Mul:
        return _product(graph, expression, args, place)
    if expression.is_Pow:
        return _raised(graph, parts[0], expression.args[1], parts[1])
    return graph.add(expression.func.__name__, *parts)


def _number(graph: Graph, value: float) -> int:
    return graph.add("neg", graph.literal(-value)) if value < 0 else graph.literal(value)


def _sum(graph: Graph, terms: tuple[Any, ...], parts: list[int]) -> int:
    """Add a sum with its positive terms first, so that `-y**2 + 1` is one subtraction."""
    order = sorted(range(len(parts)), key=lambda i: graph.nodes[parts[i]].kind == "neg")
    total = parts[order[0]]
    for i in order[1:]:
        node = graph.nodes[parts[i]]
        total = graph.add("sub", total, node.args[0]) if node.kind == "neg" else graph.add("add", total, parts[i])
    return total


def _product(graph: Graph, expression: Any, args: tuple[int, ...], place: int) -> int:
    above, below = expression.as_numer_denom()
    if below != 1:
        return graph.add("div", _written(graph, above, args, place), _written(graph, below, args, place))
    sign, rest = expression.as_coeff_Mul()
    if sign == -1:
        return graph.add("neg", _written(graph, rest, args, place))
    parts = [_written(graph, part, args, place) for part in expression.args]
    total = parts[0]
    for part in parts[1:]:
        total = graph.add("mul", total, part)
    return total


def _raised(graph: Graph, base: int, exponent: Any, written: int) -> int:
    if exponent.is_Integer and abs(exponent) <= WHOLE:
        return whole_power(graph, base, int(exponent))
    if abs(exponent) == 0.5:
        root = graph.add("sqrt", base)
        return root if exponent > 0 else graph.add("div", graph.literal(1.0), root)
    return graph.add("pow", base, written)


def whole_power(graph: Graph, base: int, exponent: int) -> int:
    """Add `base ** exponent` as products, from the left."""
    if exponent == 0:
        return graph.literal(1.0)
    total = base
    for _ in range(abs(exponent) - 1):
        total = graph.add("mul", total, base)
    return total if exponent > 0 else graph.add("div", graph.literal(1.0), total)
