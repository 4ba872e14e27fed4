"""Build the nodes of a model from its texts and the code of Brian2."""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.algebra import Algebra
from sandbox.reference.compiler.lasting import lasting, varies
from sandbox.reference.compiler.model import Model, Threshold, linear
from sandbox.reference.compiler.names import MOVING, untaken
from sandbox.reference.compiler.node import Calls, Node
from sandbox.reference.compiler.units import symbols
from sandbox.reference.compiler.updater import Event, Step, Text, codes, mentioned
from sandbox.reference.compiler.written import Code, Equation, Expression, orders, side_of, whole

NEVER = -1e7  # [ms], when a cell fired last that has not fired, as in Brian2
OPERATORS = {"+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div, "//": ast.FloorDiv, "**": ast.Pow, "%": ast.Mod}


def build(
    text: Text,
    step: Step,
    parameters: Mapping[str, Any],
    inputs: Sequence[str],
    draws: Mapping[str, str],
    jumps: Mapping[str, str],
    brought: Mapping[str, Any] | None = None,
) -> Model:
    """Build the model from checked text and Brian2's result."""
    changing = varies(text, step.period, parameters)
    maker = _Maker(text, parameters, inputs, draws, jumps, Algebra(brought), step, changing)
    code = grammar.statements(step.code, ours=True)
    free = maker.updated(code, 1.0)
    maker.smooth = {name: linear(node) for name, node in free.items()}
    waiting = maker.updated(code, 0.0) if maker.refractory else free
    clamped = frozenset(line.name for line in text.lines if "unless refractory" in line.flags)
    threshold = maker.threshold(text.threshold)
    return Model(
        algebra=maker.algebra,
        variables=maker.variables,
        clamps={name: maker.jumped(name) for name in clamped} if maker.refractory else {},
        update=free,
        waiting={name: node for name, node in waiting.items() if name not in clamped and node is not free[name]},
        stays=maker.stays,
        anew=changing,
        **threshold._asdict(),
        reset=maker.reset(text.reset, text.events),
        draws=maker.calls.kinds,
        starts={**dict.fromkeys(maker.lastspike, NEVER), **dict.fromkeys(maker.open.values(), 1.0)},
        period=maker.node(step.period) if step.period and not changing else None,
        heard=maker.heard,
        kinds={line.name: line.unit for line in text.lines if line.unit in ("boolean", "integer")},
    )


class _Maker:
    def __init__(
        self,
        text: Text,
        parameters: Mapping[str, Any],
        inputs: Sequence[str],
        draws: Mapping[str, str],
        jumps: Mapping[str, str],
        algebra: Algebra,
        step: Step,
        changing: bool,
    ) -> None:
        self.algebra, self.calls = algebra, Calls(dict(draws), [0])
        self.text, self.refractory = text, text.refractory is not None
        self.asked = step.condition or (step.period if changing else None)  # in each step
        self.changing = changing
        self.stays: Node | None = None
        self.smooth: dict[str, bool] = {}  # whether a variable grows too slowly to overflow in a step
        self.lines = {line.name: line for line in text.lines}
        held = [line.name for line in text.lines if held_over(line)]
        order = ("differential equation", "parameter")
        own = [line.name for kind in order for line in text.lines if line.kind == kind and line.name not in inputs]
        read = mentioned(text)
        late = self.reached(text.threshold.names if text.threshold else set())
        late |= self.reached(set().union(*(each.expression.names for code in codes(text) for each in code.statements)))
        late |= self.reached(set().union(*(event.condition.names for event in text.events)))
        taken = {*self.lines, *parameters, *draws}
        self.heard = {name: untaken(f"{name}_heard", taken) for name in inputs if name in late}
        clamped = [name for name in jumps.values() if self.refractory and "unless refractory" in self.lines[name].flags]
        self.open = {name: untaken(f"{name}_open", taken) for name in clamped}
        self.lastspike = ("lastspike",) if changing or "lastspike" in read else ()
        self.variables = (*own, *held, *self.lastspike, *self.heard.values(), *self.open.values())
        self.jumps = jumps
        self.env: dict[str, Node] = {name: algebra.number(value) for name, value in symbols().items()}
        self.env |= {"pi": algebra.number(math.pi), "e": algebra.number(math.e), "inf": algebra.number(math.inf)}
        self.env |= {name: algebra.name(name, 1) for name in (*parameters, "dt")}
        self.env |= {name: algebra.name(name) for name in (*self.variables, *draws, *inputs)}
        self.env |= {name: algebra.name(name) for name in ("t", "t_in_timesteps", "i", "N")}
        self.late = {**self.env, "not_refractory": algebra.call("le", algebra.name("wait"), algebra.zero)}
        self.late |= {name: algebra.name(heard) for name, heard in self.heard.items()}

    def reached(self, names: Iterable[str]) -> set[str]:
        """Return names, and those inside subexpressions that are evaluated with them."""
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found.add(name)
            line = self.lines.get(name)
            if line is not None and line.kind == "subexpression" and not held_over(line):
                waiting.extend(line.reads)
        return found

    def node(self, expression: Expression) -> Node:
        """Build the node of an expression over the present state."""
        return self._built(expression.tree, self.env)

    def jumped(self, name: str) -> Node:
        """Return a variable before an update, after the inputs were added to it that are.

        One that is held while a cell is refractory takes nothing until a step in which the cell was not, as in Brian2.
        """
        total = self.env[name]
        for input in (input for input, variable in self.jumps.items() if variable == name):
            added = self.env[input]
            if name in self.open:
                added = self.algebra.mul(added, self.env[self.open[name]])
            total = self.kept(name, self.algebra.add(total, added))
        return total

    def updated(self, code: Code, free: float) -> dict[str, Node]:
        """Return the state after Brian2's statements, in a cell that is free (1) or refractory (0)."""
        self.calls.made[0] = 0
        env = {**self.env, "not_refractory": self.algebra.number(free)}
        env |= {name: self.jumped(name) for name in self.jumps.values()}
        for name in self.variables:
            if name in self.lines and held_over(self.lines[name]):
                env[name] = self._built(side_of(self.lines[name]), env)
        if self.asked is not None:  # before the update, after what is added at the start of a step
            asked = self._built(self.asked.tree, {**env, "not_refractory": self.late["not_refractory"]})
            self.stays = lasting(self.algebra, asked) if self.changing else asked
        for statement in code.statements:
            noise = statement.target if isinstance(statement.expression.tree, ast.BinOp) else None
            drawn = noise if noise and noise.startswith("xi") else None
            env[statement.target] = self._built(statement.expression.tree, env, drawn)
        env |= {heard: env[name] for name, heard in self.heard.items()}
        env |= dict.fromkeys(self.open.values(), self.algebra.number(free))
        return {name: env[name] for name in self.variables}

    def threshold(self, text: Expression | None) -> Threshold:
        """Return the condition of a spike and the difference whose surrogate derivative it gets.

        Of conditions joined by `and` that is the last comparison, and the others are gates. Otherwise it is the largest
        difference of those joined by `or` and the nearest of those joined by `and`; a truth value has none, nor has an
        equation of whole numbers such as `i % 2 == 0`.
        """
        if text is None:
            return Threshold()
        tree = text.tree
        parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
        last = next((part for part in reversed(parts) if orders(part)), None)
        if isinstance(last, ast.Compare):
            left, right = self.algebra.compared(last.left, last.comparators[0], _Lazy(self, self.late), self.calls)
            sides = (left, right) if isinstance(last.ops[0], ast.Gt | ast.GtE) else (right, left)
            gates = [self._built(part, self.late) for part in parts if part is not last]
            gate = None if not gates else gates[0] if len(gates) == 1 else self.algebra.call("and", *gates)
            return Threshold(sides, isinstance(last.ops[0], ast.Gt | ast.Lt), gate)
        whole = self._built(tree, self.late)
        margin = self._margin(tree)
        if margin is None:
            equal = any(isinstance(node, ast.Eq | ast.NotEq) for node in ast.walk(tree))
            if equal and any(self._moves(name) for name in self.reached(text.names)):
                raise ValueError(
                    f"threshold {text!r}: the surrogate derivative needs a comparison with < <= > or >=, others beside "
                    "it with 'and', as in 'x > 0 and v > v_threshold'"
                )
            margin = self.algebra.add(self.algebra.as_number(whole), self.algebra.number(-0.5))
        return Threshold((margin, self.algebra.zero), exact=whole)

    def _moves(self, name: str) -> bool:
        """Return whether a name stands for a value that has a derivative: no index, clock, whole number or constant."""
        whole = name in self.lines and self.lines[name].unit in ("integer", "boolean")
        fixed = name in MOVING | {"lastspike"} or name not in self.env or self.env[name].level < 2
        return not (whole or fixed)

    def _margin(self, tree: ast.expr) -> Node | None:
        """Return a node that is positive where a condition holds, as far as comparisons decide; None without any."""
        algebra = self.algebra
        if orders(tree):
            assert isinstance(tree, ast.Compare)
            left, right = algebra.compared(tree.left, tree.comparators[0], _Lazy(self, self.late), self.calls)
            return algebra.sub(left, right) if isinstance(tree.ops[0], ast.Gt | ast.GtE) else algebra.sub(right, left)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
            inner = self._margin(tree.operand)
            return None if inner is None else algebra.mul(algebra.number(-1.0), inner)
        if isinstance(tree, ast.Name) and (line := _Lazy(self, self.late).trees.get(tree.id)) is not None:
            return self._margin(line)
        if not isinstance(tree, ast.BoolOp):
            return None
        found = [margin for part in tree.values if (margin := self._margin(part)) is not None]
        name = "smallest" if isinstance(tree.op, ast.And) else "largest"
        return None if not found else found[0] if len(found) == 1 else algebra.call(name, *found)

    def reset(self, text: Code, events: Sequence[Event] = ()) -> dict[str, Node]:
        """Return the state after the reset where a cell `fired`, 0 or 1, and after the statements of further events.

        As in Brian2, all conditions are asked before the reset, in which a cell that fires is refractory already, and
        the statements run after it.
        """
        before, after = self.late, self.fallen(text)
        fired = self.algebra.call("gt", self.algebra.name("fired"), self.algebra.number(0.5))
        waits = {}
        if self.refractory:
            free = self.algebra.call("and", self.late["not_refractory"], self.algebra.call("not", fired))
            waits = {"not_refractory": free}
        spiked = {name: after[name] for name in self.lastspike if name in after}
        if spiked:  # in seconds, as moments are compared
            last = self.algebra.call("choose", fired, *map(self.algebra.name, ("t_si", "lastspike_si")))
            spiked["lastspike_si"] = last
        conditions = [self._built(each.condition.tree, {**before, **waits, **spiked}) for each in events]
        for condition, event in zip(conditions, events, strict=True):
            now = {**self.late, **after, **waits, **spiked}
            changed = self.stated(event.code, now)
            every = after or {name: self.env[name] for name in self.variables}
            after = {
                name: self.algebra.call("choose", condition, changed[name], node) if name in changed else node
                for name, node in every.items()
            }
        return after

    def stated(self, code: Code, env: Mapping[str, Node]) -> dict[str, Node]:
        """Return the names that statements assign, with their values in the end.

        As in Brian2's NumPy code, whole numbers are cut once all statements have run; its C++ cuts them in between.
        """
        env, changed = dict(env), {}
        for statement in code.statements:
            right = statement.expression.tree
            if statement.operator:
                right = ast.BinOp(ast.Name(statement.target, ast.Load()), OPERATORS[statement.operator](), right)
            built = self._built(right, env)
            env[statement.target] = self.algebra.as_number(built)
            changed[statement.target] = built, right
        return {name: self.kept(name, *last) for name, last in changed.items()}

    def kept(self, name: str, node: Node, tree: ast.expr | None = None) -> Node:
        """Return a value as a variable holds it: a whole number is cut, and what is not 0 is true, as in Brian2."""
        unit = self.lines[name].unit if name in self.lines else ""
        if unit == "boolean" and not node.is_condition:
            node = self.algebra.call("ne", node, self.algebra.zero)
        node = self.algebra.as_number(node)
        if unit == "integer" and not (tree is not None and whole(tree, self.lines)):
            node = self.algebra.call("int", node)
        return node

    def fallen(self, text: Code) -> dict[str, Node]:
        """Return the state after the statements of the reset, run in order where a cell `fired`."""
        env = {**self.late, "not_refractory": self.algebra.number(0.0), **dict.fromkeys(self.lastspike, self.env["t"])}
        env |= dict.fromkeys(self.open.values(), self.algebra.zero)
        changed = {name: env[name] for name in (*self.lastspike, *self.open.values())} | self.stated(text, env)
        if not changed:
            return {}
        return {
            name: self._fired(self.env[name], changed[name]) if name in changed else env[name]
            for name in self.variables
        }

    def _fired(self, x: Node, value: Node) -> Node:
        algebra = self.algebra
        fired = algebra.name("fired")
        jump = algebra.sub(value, x)
        if x.what not in jump.names():
            return algebra.add(x, algebra.mul(jump, fired))
        return algebra.call("mix" if self.smooth[x.what] else "mix_bounded", x, value, fired)

    def _built(self, tree: ast.expr, env: Mapping[str, Node], draw: str | None = None) -> Node:
        """Return the node of a tree, its subexpressions evaluated with the present values in `env`."""
        return self.algebra.build(tree, _Lazy(self, env), self.calls, draw)


class _Lazy(dict[str, Node]):
    """Names with their nodes; a subexpression is built on first use, from the values at that moment."""

    def __init__(self, maker: _Maker, env: Mapping[str, Node]) -> None:
        super().__init__(env)
        self.maker = maker
        inside = [line for line in maker.lines.values() if line.kind == "subexpression" and line.name not in self]
        self.trees = {line.name: side_of(line) for line in inside}

    def __missing__(self, name: str) -> Node:
        line = self.maker.lines[name]
        self[name] = self.maker.algebra.build(side_of(line), self, self.maker.calls)
        return self[name]


def held_over(line: Equation) -> bool:
    """Return whether a line is evaluated once in a step, at its beginning."""
    return line.kind == "subexpression" and "constant over dt" in line.flags
