"""Steps of Runge-Kutta without SymPy: the code of Brian2's `rk2` and `rk4`, stage by stage.

Brian2 puts the subexpressions and the terms of a stage into each equation by SymPy, which takes seconds for equations
with many of them. Here a stage assigns each subexpression once:

    k_1 = dt f(x, t),    k_s = dt f(x + c_s k_{s-1}, t + c_s dt),    x + Σ b_s k_s
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from sandbox.reference.compiler.functions import RANDOM
from sandbox.reference.compiler.names import CLOCK


class Tableau(NamedTuple):
    """The steps from one stage to the next, as parts of dt, and the weights of the stages."""

    c: tuple[Fraction, ...]
    b: tuple[Fraction, ...]


HALF = Fraction(1, 2)
_DECIDES = re.compile(r"[<>%]|//|==|!=|\b(?:int|floor|ceil|sign)\b")  # steps at a value
TABLEAUS = {
    "rk2": Tableau((Fraction(0), HALF), (Fraction(0), Fraction(1))),
    "rk4": Tableau(
        (Fraction(0), HALF, HALF, Fraction(1)), (Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6))
    ),
}


def updater_of(method: str, equations: Any) -> str | Callable[..., str]:
    """Return what Brian2 is given for a method: a function that writes the code, or the name where this one cannot.

    Left to Brian2 are equations with noise, or that draw numbers, and those in which a moment decides: how SymPy writes
    an equation decides whether a time such as 3 dt is rounded to before or behind it.
    """
    if method not in TABLEAUS or equations.is_stochastic:
        return method
    names = set().union(*(equations[name].identifiers for name in _written(equations)))
    decides = any(_DECIDES.search(equations[name].expr.code) for name in _written(equations))
    left = not names.isdisjoint(RANDOM) or (decides and not names.isdisjoint(CLOCK))
    return method if left else partial(_code, method)


def _written(equations: Any) -> list[str]:
    """Return the names of the equations with a right side."""
    return [*equations.diff_eq_names, *equations.subexpr_names]


def _code(method: str, equations: Any, variables: Any = None, method_options: Any = None) -> str:
    """Return the statements of a step."""
    trees = {name: ast.parse(equations[name].expr.code, mode="eval").body for name in _written(equations)}
    inner = {name: trees[name] for name in equations.subexpr_names}
    moving = sorted(equations.diff_eq_names)
    lines: list[str] = []
    c, b = TABLEAUS[method]
    for stage, part in enumerate(c, 1):
        shift = f"dt*{part.numerator}/{part.denominator}"
        there: dict[str, str] = {}
        if part:
            there = {name: f"({name} + __k_{stage - 1}_{name}*{part.numerator}/{part.denominator})" for name in moving}
            there["t"] = f"(t + {shift})"
        replaced = _Stage(
            stage, {name: ast.parse(text, mode="eval").body for name, text in there.items()}, inner, lines
        )
        for name in moving:
            lines.append(f"__k_{stage}_{name} = dt*({ast.unparse(replaced.visit(trees[name]))})")
    for name in moving:
        terms = [f"__k_{stage}_{name}*{w.numerator}/{w.denominator}" for stage, w in enumerate(b, 1) if w]
        lines.append(f"_{name} = {' + '.join([name, *terms])}")
    return "\n".join([*lines, *(f"{name} = _{name}" for name in moving)])


class _Stage(ast.NodeTransformer):
    """Puts the values of a stage in place of variables and the time, and writes the subexpressions that it meets."""

    def __init__(
        self, stage: int, values: Mapping[str, ast.expr], inner: Mapping[str, ast.expr], lines: list[str]
    ) -> None:
        self.stage, self.values, self.inner, self.lines = stage, values, inner, lines
        self.met: set[str] = set()

    def visit(self, node: ast.AST) -> Any:
        """Return a copy with the values."""
        if isinstance(node, ast.Name):
            return self._named(node)
        if isinstance(node, ast.Call):  # whose own name stays
            return ast.Call(node.func, [self.visit(each) for each in node.args], [])
        fields = {
            name: [self.visit(each) if isinstance(each, ast.expr) else each for each in value]
            if isinstance(value, list)
            else self.visit(value)
            if isinstance(value, ast.expr)
            else value
            for name, value in ast.iter_fields(node)
        }
        return type(node)(**fields)

    def _named(self, node: ast.Name) -> ast.expr:
        if node.id in self.values:
            return self.values[node.id]
        if node.id not in self.inner:
            return node
        target = f"__{node.id}_{self.stage}"
        if node.id not in self.met:
            self.met.add(node.id)
            self.lines.append(f"{target} = {ast.unparse(self.visit(self.inner[node.id]))}")
        return ast.Name(target, ast.Load())
