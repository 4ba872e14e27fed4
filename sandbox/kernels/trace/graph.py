"""One step of a neuron as a graph of a few kinds of nodes, without duplicates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sandbox.kernels.trace.kinds import CONDITIONS, KINDS
from sandbox.kernels.unsupported import Unsupported

LEAVES = ("input", "constant", "literal")


class Node(NamedTuple):
    """A kind of `KINDS` with the places of its arguments; or an input by name, a constant or literal by value."""

    kind: str
    args: tuple[int, ...] = ()
    what: Any = None


class Graph:
    """Nodes in the order in which they are added; equal nodes are merged, so common parts are computed once.

    A `constant` is a number of the neuron, passed to the kernel when it runs, so that neurons that differ only in their
    numbers share a kernel; a `literal` is compiled into the kernel.

    >>> graph = Graph()
    >>> v = graph.input("v")
    >>> graph.add("mul", v, v) == graph.add("mul", v, v)
    True
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.places: dict[Node, int] = {}

    def input(self, name: str) -> int:
        """Add an input of the kernel, for each cell or for all cells; return its place."""
        return self._place(Node("input", (), name))

    def constant(self, value: float) -> int:
        """Add a number of the neuron; zero and one become literals."""
        return self.literal(value) if value in (0.0, 1.0) else self._place(Node("constant", (), repr(float(value))))

    def literal(self, value: float) -> int:
        """Add a number that is compiled into the kernel."""
        return self._place(Node("literal", (), repr(float(value))))

    def add(self, kind: str, *args: int) -> int:
        """Add a node of `KINDS`; an operation that is trivial for every number, NaN included, is simplified."""
        if kind not in KINDS:
            raise Unsupported(f"{kind} is not an operation of the kernels")
        if len(args) != KINDS[kind].arity:
            raise Unsupported(f"{kind} with {len(args)} arguments")
        return self._trivial(kind, args) if kind in ("add", "mul", "neg", "sub") else self._place(Node(kind, args))

    def is_condition(self, place: int) -> bool:
        """Return whether a node is a condition, true or false."""
        return self.nodes[place].kind in CONDITIONS

    def reach(self, ends: Iterable[int]) -> list[int]:
        """Return the places on which `ends` depend, `ends` included, in order."""
        wanted: set[int] = set()
        waiting = list(ends)
        while waiting:
            place = waiting.pop()
            if place not in wanted:
                wanted.add(place)
                waiting.extend(self.nodes[place].args)
        return sorted(wanted)

    def constants(self) -> list[str]:
        """Return the numbers of the neuron, in the order of their first use."""
        return [node.what for node in self.nodes if node.kind == "constant"]

    def _place(self, node: Node) -> int:
        if node not in self.places:
            self.places[node] = len(self.nodes)
            self.nodes.append(node)
        return self.places[node]

    def _is(self, place: int, value: float) -> bool:
        return self.nodes[place] == Node("literal", (), repr(value))

    def _trivial(self, kind: str, args: tuple[int, ...]) -> int:
        # `x + 0` is not simplified: for x = -0.0 it is 0.0
        if kind == "mul":
            for one, other in (args, args[::-1]):
                if self._is(one, 1.0):
                    return other
        if kind == "neg" and self.nodes[args[0]].kind == "neg":
            return self.nodes[args[0]].args[0]
        return self._place(Node(kind, args))
