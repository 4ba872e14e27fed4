"""Steps in stages without SymPy: the code of Brian2's `rk2`, `rk4`, `heun` and `milstein`.

Brian2 puts the subexpressions and the terms of a stage into each equation by SymPy, which takes seconds for equations
with many of them. Here a stage assigns each subexpression once:

    rk2, rk4:  k_1 = dt f(x, t),  k_s = dt f(x + c_s k_{s-1}, t + c_s dt),  x + Σ b_s k_s
    heun:      x + dt f(x, t) + Σ dW/2 (g(x, t) + g(x + g(x, t) dW, t + dt))
    milstein:  x + dt f(x, t) + g(x, t) dW + (g(x + dt f(x, t) + √dt g(x, t), t) - g(x, t)) dW²/(2 √dt)

where f is what is without noise and g the factor of a noise dW; the sum is over noises.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
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
NOISY = ("heun", "milstein")
_DECIDES = re.compile(r"[<>%]|//|==|!=|\b(?:int|floor|ceil|sign)\b")  # steps at a value
TABLEAUS = {
    "rk2": Tableau((Fraction(0), HALF), (Fraction(0), Fraction(1))),
    "rk4": Tableau(
        (Fraction(0), HALF, HALF, Fraction(1)), (Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6))
    ),
}


def updater_of(method: str, equations: Any) -> str | Callable[..., str]:
    """Return what Brian2 is given for a method: a function that writes the code, or the name where this one cannot.

    Left to Brian2 are equations that draw numbers, those with noise that does not suit the method or is not a factor of
    terms, and those in which a moment decides: how SymPy writes an equation decides whether a time such as 3 dt is
    rounded to before or behind it.
    """
    if method not in {*TABLEAUS, *NOISY}:
        return method
    names = set().union(*(equations[name].identifiers for name in _written(equations)))
    decides = any(_DECIDES.search(equations[name].expr.code) for name in _written(equations))
    if not names.isdisjoint(RANDOM) or (decides and not names.isdisjoint(CLOCK)):
        return method
    trees = {name: ast.parse(equations[name].expr.code, mode="eval").body for name in _written(equations)}
    sides = _Sides(trees, sorted(equations.diff_eq_names), sorted(equations.stochastic_variables))
    if not sides.noises:
        return partial(_code, method, sides) if method in TABLEAUS else method
    suits = sides.parts and (method == "heun" or (method == "milstein" and sides.diagonal))
    return partial(_noisy_code, method, sides) if suits else method


def _written(equations: Any) -> list[str]:
    """Return the names of the equations with a right side."""
    return [*equations.diff_eq_names, *equations.subexpr_names]


class NotAFactor(Exception):
    """A noise is more than a factor of terms."""


class _Sides:
    """Right sides, each without noise: f, and the factor g of each noise."""

    def __init__(self, trees: Mapping[str, ast.expr], moving: Sequence[str], noises: Sequence[str]) -> None:
        self.moving, self.noises = moving, noises
        self.inner = {name: tree for name, tree in trees.items() if name not in moving}
        self.parts: dict[str, dict[int, ast.expr]] = {}
        with contextlib.suppress(NotAFactor):
            self.parts = {name: self._parts(trees[name]) for name in moving}

    @property
    def diagonal(self) -> bool:
        """Whether each noise is in one equation and each equation has one noise at most."""
        found = [self.parts[name].keys() - {0} for name in self.moving]
        return max(map(len, found)) <= 1 and sum(map(len, found)) == len(set().union(*found))

    def _parts(self, tree: ast.expr) -> dict[int, ast.expr]:
        """Return f as part 0 and the factor of the n-th noise as part n, those that are there."""
        if not any(isinstance(node, ast.Name) and node.id in self.noises for node in ast.walk(tree)):
            return {0: tree}
        match tree:
            case ast.Name(id=noise):
                return {self.noises.index(noise) + 1: ast.Constant(1.0)}
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                return {at: ast.UnaryOp(op, part) for at, part in self._parts(operand).items()}
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                found = self._parts(left)
                for at, part in self._parts(right).items():
                    found[at] = ast.BinOp(found.get(at, ast.Constant(0.0)), op, part)
                return found
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
                one, other = self._parts(left), self._parts(right)
                if {*other} == {0}:
                    return {at: ast.BinOp(part, op, right) for at, part in one.items()}
                if {*one} == {0} and isinstance(op, ast.Mult):
                    return {at: ast.BinOp(left, op, part) for at, part in other.items()}
        raise NotAFactor


def _code(method: str, sides: _Sides, equations: Any, variables: Any = None, method_options: Any = None) -> str:
    """Return the statements of a step without noise."""
    lines: list[str] = []
    c, b = TABLEAUS[method]
    for stage, part in enumerate(c, 1):
        there: dict[str, str] = {}
        if part:
            shift = f"{part.numerator}/{part.denominator}"
            there = {name: f"({name} + __k_{stage - 1}_{name}*{shift})" for name in sides.moving}
            there["t"] = f"(t + dt*{shift})"
        replaced = _Stage(stage, there, sides.inner, lines)
        for name in sides.moving:
            lines.append(f"__k_{stage}_{name} = dt*({replaced(sides.parts[name][0])})")
    for name in sides.moving:
        terms = [f"__k_{stage}_{name}*{w.numerator}/{w.denominator}" for stage, w in enumerate(b, 1) if w]
        lines.append(f"_{name} = {' + '.join([name, *terms])}")
    return "\n".join([*lines, *(f"{name} = _{name}" for name in sides.moving)])


def _noisy_code(method: str, sides: _Sides, equations: Any, variables: Any = None, method_options: Any = None) -> str:
    """Return the statements of a step of equations with noise."""
    lines = [f"{noise} = dt**.5 * randn()" for noise in sides.noises]
    begin = _Stage(0, {}, sides.inner, lines)
    for name in sides.moving:
        for at, part in {0: ast.Constant(0.0), **sides.parts[name]}.items():
            lines.append(f"__g_{at}_{name} = {begin(part)}")
    sums = {name: [name, f"dt*__g_0_{name}"] for name in sides.moving}
    for at, noise in enumerate(sides.noises, 1):
        moved = {name: f"__g_{at}_{name}" for name in sides.moving if at in sides.parts[name]}
        if method == "heun":
            there = {name: f"({name} + {g}*{noise})" for name, g in moved.items()} | {"t": "(t + dt)"}
        else:
            there = {name: f"({name} + dt*__g_0_{name})" for name in sides.moving}
            there |= {name: f"({name} + dt*__g_0_{name} + dt**.5*{g})" for name, g in moved.items()}
        replaced = _Stage(at, there, sides.inner, lines)
        for name, g in moved.items():
            lines.append(f"__h_{at}_{name} = {replaced(sides.parts[name][at])}")
            h = f"__h_{at}_{name}"
            if method == "heun":
                sums[name].append(f"0.5*{noise}*({g} + {h})")
            else:
                sums[name] += [f"{g}*{noise}", f"({h} - {g})*{noise}**2/(2*dt**.5)"]
    lines += [f"_{name} = {' + '.join(terms)}" for name, terms in sums.items()]
    return "\n".join([*lines, *(f"{name} = _{name}" for name in sides.moving)])


class _Stage(ast.NodeTransformer):
    """Puts the values of a stage in place of variables and the time, and writes the subexpressions that it meets."""

    def __init__(self, stage: int, values: Mapping[str, str], inner: Mapping[str, ast.expr], lines: list[str]) -> None:
        self.stage, self.inner, self.lines = stage, inner, lines
        self.values = {name: ast.parse(text, mode="eval").body for name, text in values.items()}
        self.met: set[str] = set()

    def __call__(self, tree: ast.expr) -> str:
        """Return the text of an expression with the values."""
        return ast.unparse(self.visit(tree))

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
        target = f"__s_{self.stage}_{node.id}"
        if node.id not in self.met:
            self.met.add(node.id)
            self.lines.append(f"{target} = {self(self.inner[node.id])}")
        return ast.Name(target, ast.Load())
