"""An expression as a function: parsed once from text, by an allow-list, without `eval`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rules.errors import unknown
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.functions import FUNCTIONS, RANDOM, Function, divide, floored, power, remainder

Values = Mapping[str, Any]
Closure = Callable[[Values], Any]

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: divide,
    ast.FloorDiv: floored,
    ast.Mod: remainder,
    ast.Pow: power,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True)
class Formula:
    """An expression that can be called with the values of its names, floats or tensors."""

    text: str
    names: frozenset[str]
    _closure: Closure = field(repr=False, compare=False)
    _bound: Values = field(repr=False, compare=False)

    def __call__(self, values: Values) -> Any:
        try:
            return self._closure(values)
        except KeyError as missing:
            raise unknown(f"name in {self.text!r}:", missing.args[0], values) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _within, (self.text, self._bound)


def parse(text: str, constants: Values | None = None) -> Formula:
    """Parse a formula from text; `constants` are bound once and do not count as its names.

    Allowed are arithmetic (+ - * / // % **), comparisons, and / or / not, and the functions of `functions.FUNCTIONS`.
    Floats behave as in NumPy (1 / 0 is infinite). Raises ValueError for anything else, before anything is evaluated.

    >>> f = parse("exp(-v / tau) + clip(w, 0, 1)")
    >>> sorted(f.names), f({"v": 0.0, "tau": 2.0, "w": 3.0})
    (['tau', 'v', 'w'], 2.0)
    >>> f({"v": torch.zeros(2), "tau": 2.0, "w": 0.5})
    tensor([1.5000, 1.5000])
    >>> parse("v.__class__")
    Traceback (most recent call last):
    ValueError: 'v.__class__' in 'v.__class__' is not allowed; an expression has numbers, names, arithmetic, ...
    """
    read, bound = grammar.expression(text), dict(constants or {})
    return Formula(text, read.names - set(bound), closed(read.tree, bound), bound)


def right_hand_sides(equations: str, kind: str = "differential equation") -> dict[str, Formula]:
    r"""Return the right-hand side of every differential equation, with subexpressions substituted by Brian2's parser.

    Or of every line of another `kind`, "subexpression".

    Unit symbols are replaced by their values in house units (ms, mV, nA, MOhm, nF, uS), so with all names in those
    units the results are per ms. Noise `xi` is a name. Raises ValueError for text that is not a set of equations.

    >>> f = right_hand_sides("dv/dt = (I - v) / tau : volt\nI = 2 * w : volt\ndw/dt = -w / (4*ms) : volt")
    >>> {name: sorted(side.names) for name, side in f.items()}
    {'v': ['tau', 'v', 'w'], 'w': ['w']}
    >>> f["v"]({"v": 1.0, "w": 3.0, "tau": 10.0})
    0.5
    """
    from sandbox.reference.compiler.units import symbols
    from sandbox.reference.need import brian2

    lines = grammar.equations(equations)
    own = {line.name for line in lines}
    try:
        parsed = brian2().Equations("\n".join(map(str, lines)))
        sides = parsed.get_substituted_expressions(include_subexpressions=kind == "subexpression")
    except Exception as error:
        raise ValueError(f"Brian2 refuses the equations: {error}") from None
    units = {name: value for name, value in symbols().items() if name not in own}
    sides = {name: side.code for name, side in sides}
    return {line.name: _within(sides[line.name], units) for line in lines if line.kind == kind}


def _within(text: str, units: Values) -> Formula:
    read = grammar.expression(text, ours=True)
    bound = {name: units[name] for name in read.names & units.keys()}
    return Formula(text, read.names - set(bound), closed(read.tree, bound), bound)


def closed(node: ast.expr, bound: Values, functions: Mapping[str, Function] = FUNCTIONS) -> Closure:
    """Turn a tree that the grammar has checked into nested closures; parts without names are computed at once."""
    if isinstance(node, ast.Constant):
        return _fixed(node.value if isinstance(node.value, bool) else float(node.value))  # type: ignore[arg-type]
    if isinstance(node, ast.Name):
        return _fixed(bound[node.id]) if node.id in bound else operator.itemgetter(node.id)
    f, arguments = _parts(node, functions)
    closures = [closed(argument, bound, functions) for argument in arguments]
    if all(hasattr(closure, "value") for closure in closures):
        return _fixed(f(*(closure.value for closure in closures)))  # type: ignore[attr-defined]
    if len(closures) == 1:
        (x,) = closures
        return lambda values: f(x(values))
    if len(closures) == 2:
        a, b = closures
        return lambda values: f(a(values), b(values))
    return lambda values: f(*[closure(values) for closure in closures])


def _fixed(value: Any) -> Closure:
    def constant(values: Values) -> Any:
        return value

    constant.value = value  # type: ignore[attr-defined]
    return constant


def _parts(node: ast.expr, functions: Mapping[str, Function]) -> tuple[Callable[..., Any], list[ast.expr]]:
    """Return the function at the top of a tree, and its arguments."""
    f: Callable[..., Any]
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)], [node.left, node.right]
    if isinstance(node, ast.Compare):
        return OPERATORS[type(node.ops[0])], [node.left, node.comparators[0]]
    if isinstance(node, ast.BoolOp):
        f = conjunction if isinstance(node.op, ast.And) else disjunction
        return f, node.values
    if isinstance(node, ast.UnaryOp):
        unary: dict[type, Callable[..., Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: negation}
        return unary[type(node.op)], [node.operand]
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    if node.func.id in RANDOM:
        raise ValueError(f"{node.func.id}() draws a random number; a formula is a function of its names alone")
    return functions[node.func.id].__call__, node.args


def conjunction(*values: Any) -> Any:
    """Return whether all of the values hold."""
    return _logical(torch.logical_and, all, values)


def disjunction(*values: Any) -> Any:
    """Return whether any of the values holds."""
    return _logical(torch.logical_or, any, values)


def negation(value: Any) -> Any:
    """Return whether the value does not hold."""
    return torch.logical_not(value) if isinstance(value, Tensor) else not value


def _logical(pair: Callable[..., Any], plain: Callable[..., bool], values: tuple[Any, ...]) -> Any:
    if not any(isinstance(value, Tensor) for value in values):
        return plain(values)
    total = torch.as_tensor(values[0])
    for value in values[1:]:
        total = pair(total, torch.as_tensor(value, device=total.device))
    return total
