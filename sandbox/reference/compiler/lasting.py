"""Refractory times that are not constant, which Brian2 asks anew in every step."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from sandbox.reference.compiler.algebra import Algebra
from sandbox.reference.compiler.effort import reach
from sandbox.reference.compiler.functions import FUNCTIONS
from sandbox.reference.compiler.names import CONSTANTS
from sandbox.reference.compiler.node import Node
from sandbox.reference.compiler.units import symbols
from sandbox.reference.compiler.updater import Text
from sandbox.reference.compiler.written import Expression, side_of


def varies(text: Text, period: Expression | None, parameters: Iterable[str]) -> bool:
    """Return whether a refractory time is made of more than constants."""
    if period is None:
        return False
    inside = {line.name: line for line in text.lines if line.kind == "subexpression"}
    reads = {name: line.reads for name, line in inside.items()}
    found = reach("", {**reads, "": period.names})
    trees = [period.tree, *(side_of(inside[name]) for name in found & inside.keys())]
    called = {
        node.func.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return bool(called - FUNCTIONS.keys() or found - inside.keys() - {*parameters, *symbols(), *CONSTANTS, "dt"})


def lasting(algebra: Algebra, period: Node) -> Node:
    """Return the condition of a refractory cell, `timestep(t - lastspike, dt) < timestep(period, dt)`, as in Brian2.

    A cell whose time becomes longer again is refractory again, without a spike.
    """
    dt = algebra.name("dt", 1)
    since = algebra.call("minus", algebra.name("t_si"), algebra.name("lastspike_si"))
    steps = algebra.call("timestep", since, algebra.mul(algebra.number(1e-3), dt))
    return algebra.call("lt", steps, algebra.call("timestep", period, dt))
