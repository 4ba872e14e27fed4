"""One step of a neuron as a graph of a few kinds of nodes, each node made only once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sandbox.kernels.trace.kinds import CONDITIONS, KINDS
from sandbox.kernels.unsupported import Unsupported

LEAVES = ("input", "constant", "literal")


class Node(NamedTuple):
    """A kind of `KINDS` with the places of its arguments; or an input by name, a constant or a literal by value."""

    kind: str
    args: tuple[int, ...] = ()
    what: Any = None


class Graph:
    """Nodes in the order in which they are made; equal nodes are one, so common parts are computed once.

    A `constant` is a number of the neuron, handed to the kernel when it runs, so that cells that differ in their
    numbers share a kernel; a `literal` belongs to the kernel.

    >>> graph = Graph()
    >>> v = graph.input("v")
    >>> graph.add("mul", v, v) == graph.add("mul", v, v)
    True
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.places: dict[Node, int] = {}

    def input(self, name: str) -> int:
        """What the kernel is handed for each cell, or for all of them."""
        return self._place(Node("input", (), name))

    def constant(self, value: float) -> int:
        """A number of the neuron; zero and one are literals."""
        return self.literal(value) if value in (0.0, 1.0) else self._place(Node("constant", (), repr(float(value))))

    def literal(self, value: float) -> int:
        """A number of the kernel."""
        return self._place(Node("literal", (), repr(float(value))))

    def add(self, kind: str, *args: int) -> int:
        """A node of the table; what is trivial for every number, NaN included, is not made."""
        if kind not in KINDS:
            raise Unsupported(f"{kind} is no operation of the kernels")
        if len(args) != KINDS[kind].arity:
            raise Unsupported(f"{kind} with {len(args)} arguments")
        return self._trivial(kind, args) if kind in ("add", "mul", "neg", "sub") else self._place(Node(kind, args))

    def is_condition(self, place: int) -> bool:
        """Whether it is a truth."""
        return self.nodes[place].kind in CONDITIONS

    def reach(self, ends: Iterable[int]) -> list[int]:
        """The places that these need, in order."""
        wanted: set[int] = set()
        waiting = list(ends)
        while waiting:
            place = waiting.pop()
            if place not in wanted:
                wanted.add(place)
                waiting.extend(self.nodes[place].args)
        return sorted(wanted)

    def constants(self) -> list[str]:
        """The numbers of the neuron, in the order of their first use."""
        return [node.what for node in self.nodes if node.kind == "constant"]

    def _place(self, node: Node) -> int:
        if node not in self.places:
            self.places[node] = len(self.nodes)
            self.nodes.append(node)
        return self.places[node]

    def _is(self, place: int, value: float) -> bool:
        return self.nodes[place] == Node("literal", (), repr(value))

    def _trivial(self, kind: str, args: tuple[int, ...]) -> int:
        # not `x + 0`, which is no x where x is -0.0
        if kind == "mul":
            for one, other in (args, args[::-1]):
                if self._is(one, 1.0):
                    return other
                mask = self.nodes[one]
                if mask.kind == "where" and self._is(mask.args[1], 1.0) and self._is(mask.args[2], 0.0):
                    return self.add("where", mask.args[0], other, mask.args[2])  # so that 0 times infinity is 0
                if mask.kind == "where" and self._is(mask.args[1], 0.0) and self._is(mask.args[2], 1.0):
                    return self.add("where", mask.args[0], mask.args[1], other)
        if kind == "neg" and self.nodes[args[0]].kind == "neg":
            return self.nodes[args[0]].args[0]
        return self._place(Node(kind, args))
