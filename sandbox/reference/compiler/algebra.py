"""Expressions in a normal form that collects constants into coefficients, which are computed once for a dt.

A node has a level: 0 for a number, 1 if it depends on parameters and dt alone, 2 if it changes from step to step. A sum
is `constant + Σ coefficient * term`, whose constant and coefficients have a lower level than its terms; a product is
`Π base ** exponent` with whole exponents. Equal nodes are the same object.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

from sandbox.reference.compiler.formula import OPERATORS
from sandbox.reference.compiler.functions import FUNCTIONS, RANDOM, power
from sandbox.reference.compiler.node import CONDITIONS, Calls, Node
from sandbox.reference.compiler.signals import Signal

Pairs = tuple[tuple["Node", Any], ...]
CLOCKED = ("t", "lastspike")  # moments that are compared in seconds, by the name with `_si` behind
MOMENTS = {ast.Add: "plus", ast.Sub: "minus", ast.Mod: "mod"}  # operations on moments, by their name as a call


class Algebra:
    """Factory of nodes, which makes equal nodes only once."""

    def __init__(self, brought: Mapping[str, Any] | None = None) -> None:
        self.brought = dict(brought or {})  # functions beside those of the table
        self.known: dict[Any, Node] = {}
        self.zero, self.one = self.number(0.0), self.number(1.0)

    def _node(self, kind: str, what: Any, args: Any = (), constant: Any = None, level: int = 2) -> Node:
        # by repr, because -0.0 == 0.0 would merge two nodes and NaN != NaN would never find one
        key = (
            kind,
            repr(what) if kind == "number" else what,
            frozenset(args) if kind in ("sum", "product") else args,
            constant,
            level,
        )
        return self.known.setdefault(key, Node(kind, what, args, constant, level))

    def number(self, value: float) -> Node:
        """Return a plain number."""
        return self._node("number", float(value) + 0.0, level=0)

    def name(self, name: str, level: int = 2) -> Node:
        """Return a variable, or a parameter (level 1)."""
        return self._node("name", name, level=level)

    def call(self, function: str, *args: Node) -> Node:
        """Return a call: a function of the table, a condition, or an operation that only the compiler writes."""
        if function == "int" and args[0].is_condition:
            return self.call("indicator", *args)
        if function in FUNCTIONS:
            args = tuple(self.as_number(arg) for arg in args)
            if all(arg.kind == "number" for arg in args):
                return self.number(FUNCTIONS[function](*(arg.what for arg in args)))
        return self._node("call", function, args, level=max((arg.level for arg in args), default=0) or 1)

    def as_number(self, node: Node) -> Node:
        """Return a condition as 0 or 1."""
        return self.call("indicator", node) if node.is_condition else node

    def add(self, a: Node, b: Node) -> Node:
        """Return a + b."""
        level = max(a.level, b.level)
        if level == 0:
            return self.number(a.what + b.what)
        (constant, terms), (more, others) = self._as_sum(a, level), self._as_sum(b, level)
        for term, coefficient in others.items():
            terms[term] = self.add(terms[term], coefficient) if term in terms else coefficient
        return self._sum(self.add(constant, more), terms, level)

    def mul(self, a: Node, b: Node) -> Node:
        """Return a * b."""
        if a.level > b.level:
            a, b = b, a
        if b.level == 0:
            return self.number(a.what * b.what)
        if a is self.zero or a is self.one:
            return a if a is self.zero else b
        if a.level < b.level:
            constant, terms = self._as_sum(b, b.level)
            scaled = {term: self.mul(coefficient, a) for term, coefficient in terms.items()}
            return self._sum(self.mul(constant, a), scaled, b.level)
        (c, bases), (d, others) = self._as_product(a), self._as_product(b)
        for base, exponent in others.items():
            bases[base] = bases.get(base, 0) + exponent
        return self.mul(self.mul(c, d), self._product(bases, b.level))

    def sub(self, a: Node, b: Node) -> Node:
        """Return a - b."""
        return self.add(a, self.mul(self.number(-1.0), b))

    def div(self, a: Node, b: Node) -> Node:
        """Return a / b."""
        return self.mul(a, self.pow(b, self.number(-1.0)))

    def pow(self, a: Node, b: Node) -> Node:
        """Return a ** b; if a is an exponential, the exponential of the product."""
        if a.level == b.level == 0:
            return self.number(power(a.what, b.what))
        if a.kind == "call" and a.what == "exp":
            return self.call("exp", self.mul(a.args[0], b))
        if b.kind == "number" and b.what == round(b.what) and abs(b.what) <= 64:
            coefficient, bases = self._as_product(a)
            raised = self._product({base: exponent * int(b.what) for base, exponent in bases.items()}, a.level)
            return self.mul(self.pow(coefficient, b) if coefficient is not self.one else self.one, raised)
        if b.kind == "number" and abs(b.what) == 0.5:
            root = self.call("sqrt", a)
            return root if b.what > 0 else self.pow(root, self.number(-1.0))
        return self._node("call", "pow", (a, b), level=max(a.level, b.level))

    def build(self, tree: ast.expr, env: Mapping[str, Node], calls: Calls, draw: str | None = None) -> Node:
        """Build a node from a syntax tree that the grammar has checked."""

        def build(node: ast.expr) -> Node:
            return self.build(node, env, calls, draw)

        def number(node: ast.expr) -> Node:
            return self.as_number(build(node))

        match tree:
            case ast.Constant():
                return self.number(float(tree.value))  # type: ignore[arg-type]  # checked by the grammar
            case ast.Name():
                return env[tree.id]
            case ast.BinOp():
                a, b = number(tree.left), number(tree.right)
                plain = {ast.Add: self.add, ast.Sub: self.sub, ast.Mult: self.mul, ast.Div: self.div, ast.Pow: self.pow}
                if type(tree.op) in plain:
                    return plain[type(tree.op)](a, b)
                if a.level == b.level == 0:
                    return self.number(OPERATORS[type(tree.op)](a.what, b.what))
                return self.call("mod" if isinstance(tree.op, ast.Mod) else "floordiv", a, b)
            case ast.UnaryOp():
                if isinstance(tree.op, ast.Not):
                    return self.call("not", build(tree.operand))
                return self.mul(self.number(-1.0 if isinstance(tree.op, ast.USub) else 1.0), number(tree.operand))
            case ast.Compare():
                sides = self.compared(tree.left, tree.comparators[0], env, calls, draw)
                return self.call(CONDITIONS[type(tree.ops[0])], *sides)
            case ast.BoolOp():
                return self.call(CONDITIONS[type(tree.op)], *(build(value) for value in tree.values))
            case ast.Call(func=ast.Name(id=function)) if function in RANDOM:
                drawn = self.name(calls.drawn(function, draw))
                return self.call("counted", number(tree.args[0]), drawn) if tree.args else drawn
            case ast.Call(func=ast.Name(id=function)) if function in self.brought:
                stored = isinstance(self.brought[function], Signal)
                first = self.seconds(tree.args[0], env, calls, draw) if stored else number(tree.args[0])
                return self._node("call", function, (first, *(number(arg) for arg in tree.args[1:])))
            case ast.Call(func=ast.Name(id="int" | "floor" | "ceil" as function), args=[part]) if counted(part, env):
                assert isinstance(part, ast.BinOp)
                whole = [self.seconds(side, env, calls, draw) for side in (part.left, part.right)]
                return self.call(function, self.call("over", *whole))
            case ast.Call(func=ast.Name(id=function)):
                return self.call(function, *(build(arg) for arg in tree.args))
        raise AssertionError(ast.dump(tree))

    def compared(
        self, left: ast.expr, right: ast.expr, env: Mapping[str, Node], calls: Calls, draw: str | None = None
    ) -> tuple[Node, Node]:
        """Return two sides of a comparison; those with the time in seconds, in which Brian2 rounds k dt."""
        build = self.seconds if timed(left, env) or timed(right, env) else self.build
        return self.as_number(build(left, env, calls, draw)), self.as_number(build(right, env, calls, draw))

    def seconds(self, tree: ast.expr, env: Mapping[str, Node], calls: Calls, draw: str | None = None) -> Node:
        """Build a node of times in seconds; sums and differences of moments are computed in the order of the text."""
        if isinstance(tree, ast.Name) and f"{tree.id}_si" in env:
            return env[f"{tree.id}_si"]
        if isinstance(tree, ast.Name) and (line := trees(env).get(tree.id)) is not None:
            tree = line
        if isinstance(tree, ast.BinOp) and type(tree.op) in MOMENTS and timed(tree, env):
            sides = (self.seconds(side, env, calls, draw) for side in (tree.left, tree.right))
            return self.call(MOMENTS[type(tree.op)], *sides)
        if isinstance(tree, ast.UnaryOp) and timed(tree, env):
            return self.mul(self.number(-1.0), self.seconds(tree.operand, env, calls, draw))
        node = self.as_number(self.build(tree, env, calls, draw))
        if node.kind == "name" and node.what in CLOCKED:
            return self.name(f"{node.what}_si")
        return self.mul(self.number(1e-3), node)

    def factored(self, node: Node) -> Node:
        """Factor out the most frequent factor of a sum, repeatedly: a greedy search for few multiplications."""
        while True:
            counts: dict[tuple[Node, int], int] = {}
            for term, _ in node.args:
                for base, exponent in self._as_product(term)[1].items():
                    key = (base, 1 if exponent > 0 else -1)
                    counts[key] = counts.get(key, 0) + 1
            key = max(counts, key=lambda k: counts[k])
            if counts[key] < 2:
                return node
            base, sign = key
            inner, rest = self.zero, {}
            least = min(abs(e) for t, _ in node.args if (e := self._as_product(t)[1].get(base, 0) * sign) > 0)
            for term, coefficient in node.args:
                _, bases = self._as_product(term)
                if bases.get(base, 0) * sign > 0:
                    bases[base] -= sign * least
                    inner = self.add(inner, self.mul(coefficient, self._product(bases, node.level)))
                else:
                    rest[term] = coefficient
            taken = self._node("product", None, ((base, sign * least), (inner, 1)), level=node.level)
            if inner.kind != "sum" or not rest:
                taken = self.mul(self._product({base: sign * least}, node.level), inner)
            node = self.add(self._sum(node.constant, rest, node.level), taken)
            if node.kind != "sum" or len(node.args) < 2:
                return node

    def _as_sum(self, node: Node, level: int) -> tuple[Node, dict[Node, Node]]:
        if node.level < level:
            return node, {}
        return (node.constant, dict(node.args)) if node.kind == "sum" else (self.zero, {node: self.one})

    def _as_product(self, node: Node) -> tuple[Node, dict[Node, int]]:
        if node.kind == "product":
            return self.one, dict(node.args)
        if node.kind == "sum" and node.constant is self.zero and len(node.args) == 1:
            ((term, coefficient),) = node.args
            return coefficient, self._as_product(term)[1]
        return self.one, {node: 1}

    def _sum(self, constant: Node, terms: dict[Node, Node], level: int) -> Node:
        terms = {term: coefficient for term, coefficient in terms.items() if coefficient is not self.zero}
        if not terms:
            return constant
        if constant is self.zero and len(terms) == 1:
            ((term, coefficient),) = terms.items()
            if coefficient is self.one:
                return term
        return self._node("sum", None, tuple(terms.items()), constant, level)

    def _product(self, bases: dict[Node, int], level: int) -> Node:
        exponent = self.zero
        for base in [base for base in bases if base.kind == "call" and base.what == "exp"]:
            exponent = self.add(exponent, self.mul(base.args[0], self.number(bases.pop(base))))
        if exponent is not self.zero:
            joint = self.call("exp", exponent)
            if joint.level < level:
                return self.mul(joint, self._product(bases, level))
            bases[joint] = bases.get(joint, 0) + 1
        bases = {base: n for base, n in bases.items() if n}
        if not bases:
            return self.one
        if len(bases) == 1 and 1 in bases.values():
            return next(iter(bases))
        return self._node("product", None, tuple(bases.items()), level=level)


def trees(env: Mapping[str, Node]) -> Mapping[str, ast.expr]:
    """Return the expressions of the names that stand for one."""
    return getattr(env, "trees", {})


def timed(tree: ast.expr, env: Mapping[str, Node]) -> bool:
    """Return whether an expression is a moment, or a sum, difference or remainder of moments."""
    if isinstance(tree, ast.Name):
        line = trees(env).get(tree.id)
        return tree.id in CLOCKED if line is None else timed(line, env)
    if isinstance(tree, ast.UnaryOp):
        return isinstance(tree.op, ast.USub) and timed(tree.operand, env)
    return (
        isinstance(tree, ast.BinOp) and type(tree.op) in MOMENTS and (timed(tree.left, env) or timed(tree.right, env))
    )


def counted(tree: ast.expr, env: Mapping[str, Node]) -> bool:
    """Return whether an expression is a moment over a time, whose whole part is that of seconds over seconds."""
    return isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Div) and timed(tree.left, env)


def finite(value: Any) -> bool:
    """Return whether a number is finite; a tensor passes."""
    return not isinstance(value, float) or math.isfinite(value)
