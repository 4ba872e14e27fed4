"""Nodes of the normal form of `algebra`, and the draws that calls of random numbers become."""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

from sandbox.reference.compiler.functions import RANDOM

CONDITIONS = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.And: "and",
    ast.Or: "or",
}


class Node:
    """A node: `kind` is number, name, call, sum or product; `what` is the number, the name, or the function's name."""

    __slots__ = ("args", "constant", "kind", "level", "what")

    def __init__(self, kind: str, what: Any, args: Any, constant: Any, level: int) -> None:
        self.kind, self.what, self.args, self.constant, self.level = kind, what, args, constant, level

    @property
    def is_condition(self) -> bool:
        """Whether its value is true or false."""
        return self.kind == "call" and self.what in {*CONDITIONS.values(), "not"}

    @property
    def parts(self) -> list[Node]:
        """The nodes it is made from."""
        if self.kind == "sum":
            return [self.constant, *(node for pair in self.args for node in pair)]
        return [base for base, _ in self.args] if self.kind == "product" else list(self.args)

    def names(self) -> set[str]:
        """Return the names in it."""
        found, seen, waiting = set(), {self}, [self]
        while waiting:
            node = waiting.pop()
            if node.kind == "name":
                found.add(node.what)
            fresh = [part for part in node.parts if part not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
        return found


class Calls(NamedTuple):
    """The draws that replace calls of `rand()` and `randn()`."""

    kinds: dict[str, str]  # name of the draw -> "uniform" or "normal"
    made: list[int]  # calls so far; a text that is built again begins at 0 again, and draws the same

    def drawn(self, function: str, name: str | None) -> str:
        """Return a name for a new draw."""
        if name is None:
            self.made[0] += 1
            name = f"{function}_{self.made[0]}"
        self.kinds[name] = RANDOM[function]
        return name
