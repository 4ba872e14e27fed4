"""How large equations become when SymPy multiplies them out, counted beforehand: an expansion cannot be interrupted."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sandbox.reference.compiler.written import Equation, Expression

# of one equation; SymPy needs up to a second for these, and the models of the literature have under 100
MOST_TERMS = 400
COUPLED = 2  # variables that depend on each other; SymPy finds the matrix exponential of two in a second, not of three
PAIRS = 6  # of a variable and another on which it depends; the matrix exponential takes five seconds for these
CAP = 10**9
PLAIN = frozenset({"euler", "rk2", "rk4", "heun"})  # schemes that take equations as they are


class Size(NamedTuple):
    """The size of an expression when it is multiplied out."""

    terms: int  # of the sum that it becomes
    inner: int  # terms of the sums inside of functions, denominators and conditions

    @property
    def total(self) -> int:
        """All terms."""
        return min(self.terms + self.inner, CAP)


ATOM = Size(1, 0)


def expands(lines: Sequence[Equation], methods: Sequence[str]) -> bool:
    """Return whether a scheme that may be taken multiplies equations out: all do with noise, and some without."""
    noisy = any(name == "xi" or name.startswith("xi_") for line in lines for name in line.reads)
    return noisy or not methods or not set(methods) <= PLAIN


def check(lines: Sequence[Equation]) -> None:
    r"""Raise ValueError for an equation that has too many terms when its subexpressions are put in and multiplied out.

    >>> from sandbox.reference.compiler import grammar
    >>> check(grammar.equations("dv/dt = (v + a)**2 * (v + b)**2 / tau : 1"))
    >>> check(grammar.equations("dv/dt = x**30 / tau : 1\nx = y**30 : 1\ny = v + a : 1"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: 'x**30 / tau' has over a thousand million terms when it is multiplied out, above 400: ...
    """
    sizes: dict[str, Size] = {}
    known = {line.name: line for line in lines if line.kind == "subexpression"}

    def size_of(name: str, above: tuple[str, ...]) -> Size:
        if name not in known or name in above:  # a circle, which Brian2 refuses
            return ATOM
        if name not in sizes:
            side = known[name].expression
            assert side is not None
            sizes[name] = size(side.tree, {each: size_of(each, (*above, name)) for each in side.names})
        return sizes[name]

    for line in lines:
        if not line.expression:
            continue
        side = line.expression
        found = size(side.tree, {name: size_of(name, (line.name,)) for name in side.names}).total
        if found > MOST_TERMS:
            count = f"{found}" if found < CAP else "over a thousand million"
            raise ValueError(
                f"{shortened(line.expression)!r} has {count} terms when it is multiplied out, above {MOST_TERMS}: "
                "Brian2's schemes would take too long; lower its powers, or make a part of it a variable or parameter"
            )


def size(tree: ast.expr, names: Mapping[str, Size]) -> Size:
    """Return the size of an expression, with those of the names in it."""

    def of(node: ast.expr) -> Size:
        return size(node, names)

    match tree:
        case ast.Name():
            return names.get(tree.id, ATOM)
        case ast.UnaryOp(operand=operand):
            return of(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            return added(of(left), of(right))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return multiplied(of(left), of(right))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            below = of(right)
            return multiplied(of(left), Size(1, below.inner if below.terms == 1 else below.total))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return raised(of(left), right, of(right))
        case ast.BoolOp() | ast.Compare() | ast.Call() | ast.BinOp():
            parts = [of(node) for node in ast.iter_child_nodes(tree) if isinstance(node, ast.expr)]
            return Size(1, min(sum(part.total for part in parts), CAP))
    return ATOM


def added(a: Size, b: Size) -> Size:
    """Return the size of a sum."""
    return Size(min(a.terms + b.terms, CAP), min(a.inner + b.inner, CAP))


def multiplied(a: Size, b: Size) -> Size:
    """Return the size of a product; what is inside of functions is written into each term."""
    return Size(min(a.terms * b.terms, CAP), min(a.inner * b.terms + b.inner * a.terms, CAP))


def raised(base: Size, exponent: ast.expr, above: Size) -> Size:
    """Return the size of a power: a sum of t terms to the n-th has as many terms as there are multisets of n of t."""
    by = number(exponent)
    if by is None or by != round(by):
        return Size(1, min(base.total + above.total, CAP))
    n = min(round(abs(by)), CAP)
    terms = min(math.comb(base.terms + n - 1, n), CAP) if base.terms < 1000 and n < 1000 else CAP
    whole = Size(1 if base.terms == 1 else terms, min(base.inner * (terms if base.terms > 1 else 1), CAP))
    return whole if by > 0 else Size(1, whole.total)


def number(tree: ast.expr) -> float | None:
    """Return the value of a plain number, with its sign; None for anything else."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        inner = number(tree.operand)
        return None if inner is None else -inner
    return float(tree.value) if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float) else None


def entangled(lines: Sequence[Equation]) -> str | None:
    r"""Return why SymPy would take too long for the matrix exponential of these equations; None if it would not.

    >>> from sandbox.reference.compiler import grammar
    >>> entangled(grammar.equations("dv/dt = (g - v) / tau : 1\ndg/dt = -v / tau : 1"))
    >>> entangled(grammar.equations("dv/dt = x / tau : 1\ndx/dt = y / tau : 1\ndy/dt = -v / tau : 1"))
    '3 variables depend on each other, above 2'
    """
    reads = {line.name: line.reads for line in lines}
    variables = [line.name for line in lines if line.kind == "differential equation"]
    reached = {name: reach(name, reads) for name in variables}
    circles = [sum(name in reached[other] and other in reached[name] for other in variables) for name in variables]
    pairs = sum(other in reached[name] for name in variables for other in variables if other != name)
    if max(circles, default=0) > COUPLED:
        return f"{max(circles)} variables depend on each other, above {COUPLED}"
    return f"variables depend on others in {pairs} ways, above {PAIRS}" if pairs > PAIRS else None


def linear(lines: Sequence[Equation]) -> bool:
    r"""Return whether every equation is linear in the variables, by its form, and without noise.

    >>> from sandbox.reference.compiler import grammar
    >>> linear(grammar.equations("dv/dt = (2 * x - v) / tau : 1\nx = w + 1 : 1\ndw/dt = -w / tau : 1"))
    True
    >>> linear(grammar.equations("dv/dt = (v * w - v) / tau : 1\ndw/dt = -w / tau : 1"))
    False
    """
    sides = {line.name: line.expression for line in lines if line.expression}
    known = {line.name: 1 for line in lines if line.kind == "differential equation"}
    for line in lines:  # a subexpression may come after what reads it
        if line.kind == "subexpression" and line.name not in known:
            _learn(line.name, sides, known, ())
    return all(degree(sides[name].tree, known) <= 1 for name in known if name in sides)


def _learn(name: str, sides: Mapping[str, Expression], known: dict[str, int], above: tuple[str, ...]) -> None:
    for inner in sides[name].names:
        if inner in sides and inner not in known and inner not in (*above, name):
            _learn(inner, sides, known, (*above, name))
    known[name] = degree(sides[name].tree, known)


def degree(tree: ast.expr, known: Mapping[str, int]) -> int:
    """Return the degree of an expression in the variables: 0, 1, or 2 for all that is not linear."""
    parts = [degree(node, known) for node in ast.iter_child_nodes(tree) if isinstance(node, ast.expr)]
    match tree:
        case ast.Name(id=name):
            return 2 if name == "xi" or name.startswith("xi_") else known.get(name, 0)
        case ast.UnaryOp() | ast.BinOp(op=ast.Add() | ast.Sub()):
            return max(parts)
        case ast.BinOp(op=ast.Mult()):
            return min(sum(parts), 2)
        case ast.BinOp(op=ast.Div()) if parts[1] == 0:
            return parts[0]
    return 2 if any(parts) else 0


def reach(name: str, reads: Mapping[str, frozenset[str]]) -> set[str]:
    """Return all names that a variable depends on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = reads.get(waiting.pop(), frozenset()) - found
        found |= new
        waiting.extend(new)
    return found


def shortened(text: str) -> str:
    """Return a text of at most a hundred characters."""
    return text if len(text) <= 100 else f"{text[:80]}..."
