"""Texts that were read once: an expression with its tree, statements, and the lines of a model."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Mapping
from typing import NamedTuple


class Expression(str):
    """The text of an expression that passed the grammar, with its tree."""

    __slots__ = ("names", "tree")

    tree: ast.expr
    names: frozenset[str]  # the identifiers that it reads, without the functions that it calls

    def __new__(cls, text: str, tree: ast.expr) -> Expression:
        made = super().__new__(cls, text)
        made.tree, made.names = tree, names(tree)
        return made

    def renamed(self, others: Mapping[str, str]) -> Expression:
        """Return the same expression over other names."""
        if self.names.isdisjoint(others):
            return self
        return Expression(replaced(self, others), _Renamed(others).visit(copy.deepcopy(self.tree)))


class Statement(NamedTuple):
    """One assignment: `operator` is "" or one of + - * / // ** %."""

    target: str
    operator: str
    expression: Expression
    text: str

    def renamed(self, others: Mapping[str, str]) -> Statement:
        """Return the same statement over other names."""
        target = others.get(self.target, self.target)
        return Statement(target, self.operator, self.expression.renamed(others), replaced(self.text, others))


class Code(str):
    """The text of statements that passed the grammar."""

    __slots__ = ("statements",)

    statements: tuple[Statement, ...]

    def __new__(cls, text: str, statements: tuple[Statement, ...]) -> Code:
        made = super().__new__(cls, text)
        made.statements = statements
        return made

    def renamed(self, others: Mapping[str, str]) -> Code:
        """Return the same statements over other names."""
        return Code(replaced(self, others), tuple(statement.renamed(others) for statement in self.statements))


class Equation(NamedTuple):
    """One line of a model: `kind` is a key of `grammar.FLAGS`."""

    kind: str
    name: str
    expression: Expression | None  # None for a parameter
    unit: str
    flags: tuple[str, ...]

    def __str__(self) -> str:
        left = f"d{self.name}/dt = {self.expression}" if self.kind == "differential equation" else self.name
        left = f"{self.name} = {self.expression}" if self.kind == "subexpression" else left
        return f"{left} : {self.unit}" + (f" ({', '.join(self.flags)})" if self.flags else "")

    @property
    def reads(self) -> frozenset[str]:
        """The names in its expression."""
        return frozenset() if self.expression is None else self.expression.names

    def renamed(self, others: Mapping[str, str]) -> Equation:
        """Return the same line over other names."""
        side = None if self.expression is None else self.expression.renamed(others)
        return self._replace(name=others.get(self.name, self.name), expression=side)


def names(tree: ast.expr) -> frozenset[str]:
    """Return the identifiers that an expression reads, without the functions that it calls."""
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called)


def side_of(line: Equation) -> ast.expr:
    """Return the tree to the right of a line that has one."""
    assert line.expression is not None
    return line.expression.tree


def orders(tree: ast.expr) -> bool:
    """Return whether it is a comparison with < <= > or >=."""
    return isinstance(tree, ast.Compare) and not isinstance(tree.ops[0], ast.Eq | ast.NotEq)


def whole(tree: ast.expr, lines: Mapping[str, Equation]) -> bool:
    """Return whether an expression of whole numbers is one, for which nothing has to be cut."""
    match tree:
        case ast.Constant():
            return isinstance(tree.value, int)
        case ast.Name():
            return tree.id in ("i", "N") or (tree.id in lines and lines[tree.id].unit in ("integer", "boolean"))
        case ast.BinOp():
            plain = isinstance(tree.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv | ast.Mod)
            return plain and whole(tree.left, lines) and whole(tree.right, lines)
        case ast.UnaryOp():
            return whole(tree.operand, lines)
        case ast.Call(func=ast.Name(id="int")) | ast.Compare() | ast.BoolOp():
            return True
    return False


def replaced(text: str, others: Mapping[str, str]) -> str:
    """Return text with other names.

    >>> replaced("step + step_2", {"step": "step_"})
    'step_ + step_2'
    """
    return re.sub(rf"\b({'|'.join(map(re.escape, sorted(others)))})\b", lambda match: others[match[1]], text)


class _Renamed(ast.NodeTransformer):
    def __init__(self, others: Mapping[str, str]) -> None:
        self.others = others

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.others.get(node.id, node.id), ast.Load())
