"""One step of synapses as torch operations: the equations first, then the spikes, in Brian2's order."""

from __future__ import annotations

import ast
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.divided import divided
from sandbox.reference.compiler.formula import OPERATORS, Closure, closed
from sandbox.reference.compiler.functions import FUNCTIONS, Function, truncated
from sandbox.reference.compiler.maker import OPERATORS as SIGNS
from sandbox.reference.compiler.units import symbols
from sandbox.reference.compiler.written import Statement, names
from sandbox.reference.synapses.pathways import Text

State = dict[str, Tensor]  # by variable, each in a shape that broadcasts to [B, C, L, K]


class Assignment(NamedTuple):
    """A statement, compiled."""

    target: str
    operator: Callable[..., Any] | None  # of += and the like
    side: Closure
    operations: int
    text: str


class Run(NamedTuple):
    """What a spike of one side does."""

    side: str
    statements: tuple[Assignment, ...]


class Program(NamedTuple):
    """The statements of a step, for one dt."""

    events: tuple[Assignment, ...]  # what happens between two steps to variables that are event-driven
    clock: tuple[Assignment, ...]  # what happens within a step to those that are clock-driven
    runs: tuple[Run, ...]
    starts: Mapping[str, float]  # of every variable but the weight


def compiled(
    text: Text, events: str, clock: str, constants: Mapping[str, float], starts: Mapping[str, float], dt: float
) -> Program:
    """Compile checked text, and the code by which Brian2 advances the equations, for a time step [ms]."""
    bound = {**symbols(), **constants, "pi": math.pi, "e": math.e, "inf": math.inf, "dt": dt}
    inner = {line.name: line.expression.tree for line in text.lines if line.expression and line.kind == "subexpression"}

    def written(statements: Sequence[Statement]) -> tuple[Assignment, ...]:
        return tuple(_assignment(each, inner, bound) for each in statements)

    return Program(
        written(grammar.statements(events, ours=True).statements),
        written(grammar.statements(clock, ours=True).statements),
        tuple(Run(pathway.side, written(pathway.statements)) for pathway in text.pathways),
        starts,
    )


def stepped(program: Program, state: State, pre: Tensor, post: Tensor, first: bool) -> tuple[State, int]:
    """Return the variables after a step, and how many operations on a variable of a synapse it took.

    Variables are as large as what they depend on: a trace of the inputs is `[B, 1, L, K]`.

    Args:
        program: the statements.
        state: the variables after the step before.
        pre: which inputs fired, `[B, 1, L, K]`.
        post: which cells fired, `[B, C, L, 1]`.
        first: whether it is the first step of a sequence, at time 0.
    """
    spent = 0
    for statements in ((), program.clock) if first else (program.events, program.clock):
        after, operations = ran(statements, state)
        state, spent = {name: after[name] for name in state}, spent + operations
    for run in program.runs:
        fired = pre if run.side == "pre" else post
        after, operations = ran(run.statements, state)
        spent += operations
        state = {
            name: value if after[name] is value else torch.where(fired, after[name], value)
            for name, value in state.items()
        }
    return state, spent


def ran(statements: Sequence[Assignment], state: State) -> tuple[dict[str, Any], int]:
    """Return the values after statements, in order, and the operations."""
    values: dict[str, Any] = dict(state)
    like, spent = next(iter(state.values())), 0
    for each in statements:
        value = each.side(values)
        if each.operator is not None:
            value = each.operator(values[each.target], value)
        value = value.to(like.dtype) if isinstance(value, Tensor) else like.new_tensor(float(value))
        values[each.target] = value
        spent += each.operations * value.numel()
    return values, spent


def started(program: Program, weight: str, values: Tensor) -> State:
    """Return the variables before the first step, for weights `[1, C, 1, K]`."""
    return {weight: values} | {name: values.new_full((1, 1, 1, 1), start) for name, start in program.starts.items()}


def _assignment(statement: Statement, inner: Mapping[str, ast.expr], bound: Mapping[str, Any]) -> Assignment:
    tree = _Inlined(inner).visit(copy.deepcopy(statement.expression.tree))
    nodes = sum(not isinstance(node, ast.Name | ast.Constant) for node in ast.walk(tree) if isinstance(node, ast.expr))
    operator = OPERATORS[SIGNS[statement.operator]] if statement.operator else None
    known = {name: value for name, value in bound.items() if name in names(tree)}
    side = closed(tree, known, FUNCTIONS_OF_TENSORS)
    return Assignment(statement.target, operator, side, max(nodes + (operator is not None), 1), statement.text)


class _Inlined(ast.NodeTransformer):
    """Puts subexpressions where they are read."""

    def __init__(self, inner: Mapping[str, ast.expr]) -> None:
        self.inner = inner

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.visit(copy.deepcopy(self.inner[node.id])) if node.id in self.inner else node


def _whole(x: Tensor) -> Tensor:
    """Round toward zero; a condition is 0 or 1 in double precision, which takes the precision of what it meets."""
    return x.to(torch.float64) if x.dtype == torch.bool else truncated(x)


FUNCTIONS_OF_TENSORS = FUNCTIONS | {
    "int": Function(1, FUNCTIONS["int"].plain, _whole),
    "divided": Function(3, divided, divided),  # of three or more, in the exact steps of variables in a chain
}
