"""A model as nodes: the update of the state, the comparison of the threshold, and the reset."""

from __future__ import annotations

from typing import NamedTuple

from sandbox.reference.compiler.algebra import Algebra
from sandbox.reference.compiler.names import CLOCKS
from sandbox.reference.compiler.node import Node


class Threshold(NamedTuple):
    """The fields of a model about its threshold."""

    above: tuple[Node, Node] | None = None
    strict: bool = False
    gate: Node | None = None
    exact: Node | None = None


class Model(NamedTuple):
    """Nodes over the names of the state, the input, the draws (level 2), the parameters and dt (level 1)."""

    algebra: Algebra
    variables: tuple[str, ...]  # of the state
    clamps: dict[str, Node]  # variables that are constant while a cell is refractory, with what the input adds to them
    update: dict[str, Node]  # the state after a step, in a cell that is not refractory
    waiting: dict[str, Node]  # the same in a refractory cell, where it differs
    stays: Node | None  # the condition under which a cell stays refractory
    anew: bool  # or is refractory, spike or not, as with a refractory time that changes
    above: tuple[Node, Node] | None  # spike where the first is at least the second
    strict: bool
    gate: Node | None  # and where this holds
    exact: Node | None  # or, whatever the difference, where this holds
    reset: dict[str, Node]  # the state after it, over `fired`; empty for none
    draws: dict[str, str]
    starts: dict[str, float]  # of variables that the equations do not have
    period: Node | None  # the refractory time
    heard: dict[str, str]  # by input, the variable that holds it for the threshold and the reset
    kinds: dict[str, str]  # of variables that are "integer" or "boolean"

    @property
    def late(self) -> list[Node]:
        """The nodes of the threshold, the refractory condition and the reset."""
        nodes = [*(self.above or ()), *(node for node in (self.stays, self.gate, self.exact) if node is not None)]
        return nodes + [node for name, node in self.reset.items() if name not in self.heard.values()]

    def causes(self, membrane: str) -> set[str]:
        """Return the names that the output depends on, in this step or through the variables of earlier ones.

        The output is the spikes or, without a threshold, the membrane.
        """
        ends = [*(self.above or ()), *(node for node in (self.stays, self.gate, self.exact) if node is not None)]
        changes = [self.update, self.waiting, self.clamps, self.reset]
        waiting, found = set().union(*(node.names() for node in ends)) if ends else {membrane}, set[str]()
        while waiting:
            name = waiting.pop()
            found.add(name)
            waiting |= set().union(*(each[name].names() for each in changes if name in each)) - found
        return found

    @property
    def timed(self) -> bool:
        """Whether a step reads the time."""
        nodes = [*self.update.values(), *self.waiting.values(), *self.late]
        return any(not node.names().isdisjoint(CLOCKS) for node in nodes)

    def after(self, refractory: bool) -> dict[str, Node]:
        """Return the state after a step; if cells can be refractory, with clamped variables and `wait`."""
        if not refractory:
            return self.update
        algebra = self.algebra
        wait = algebra.name("wait")
        if self.stays is not None:
            wait = algebra.call("choose", self.stays, algebra.one if self.anew else wait, algebra.zero)
        closed = algebra.call("gt", wait, algebra.zero)
        kept = {**self.waiting, **self.clamps}
        after = {
            name: algebra.call("choose", closed, kept[name], node) if name in kept else node
            for name, node in self.update.items()
        }
        return {**after, "wait": wait}


def linear(node: Node) -> bool:
    """Return whether it is a sum of variables with fixed coefficients, which cannot overflow in a step."""
    return node.level < 2 or node.kind == "name" or (node.kind == "sum" and all(t.kind == "name" for t, _ in node.args))
