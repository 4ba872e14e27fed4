"""What the sources of forward and backward kernels share: variants, the words of a back end, a line for each node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.structure import Structure


class Variant(NamedTuple):
    """What a kernel of a structure is asked for."""

    each: tuple[bool, ...]  # whether a parameter has a value for each cell
    save: bool = False  # forward: keep what the backward pass reads
    sparse: bool = False  # keep the state of every `every`-th step alone, and compute the others again
    given: tuple[bool, ...] = ()  # backward: which outputs have a gradient
    wanted: tuple[str, ...] = ()  # backward: inputs whose gradient is asked for, beside the states


class Parts(NamedTuple):
    """What a kernel does, and in which order.

    What cells carry is `copied` from a buffer or `cleared`, and in the end `kept` in one or `summed` over a block.
    """

    fetched: Sequence[str]  # lines that fetch the numbers of all cells
    copied: Sequence[str]
    cleared: Sequence[str]
    work: Sequence[str]  # lines of the loops over time
    kept: Sequence[str]
    summed: Sequence[str] = ()


class Words(ABC):
    """How a back end writes what the steps of a kernel are made of; `names` are its buffers, in order.

    `i` is the place of a cell in a step of a sequence, `k` in a step of a segment; `x_here` is what a cell carries from
    step to step. The current has a place of its own, `ix`: one that stands still in time is a single row.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names

    @staticmethod
    @abstractmethod
    def node(kind: str, args: Sequence[str]) -> str:
        """A node of `KINDS`, of arguments that have names."""

    @staticmethod
    @abstractmethod
    def number(place: int) -> str:
        """One of the numbers that all cells share."""

    @staticmethod
    @abstractmethod
    def literal(value: str) -> str:
        """A number of the kernel."""

    @abstractmethod
    def read(self, name: str, at: str) -> str:
        """One value of a sequence, as an expression."""

    @abstractmethod
    def carried(self, name: str) -> str:
        """What a cell carries, as an expression."""

    def fetch(self, name: str, to: str | None = None, at: str = "i") -> str:
        """One value of a sequence, given a name."""
        return f"{to or name} = {self.read(name, 'ix' if name == 'x' else at)}"

    def held(self, name: str) -> str:
        """What a cell carries, as it was when the step began."""
        return f"{name} = {self.carried(name)}"

    def gather(self, name: str, value: str) -> str:
        """A term of a sum over time."""
        return self.hold(name, f"{self.carried(name)} + {value}")

    @abstractmethod
    def put(self, name: str, value: str, at: str = "i") -> str:
        """One value of a sequence, written."""

    @abstractmethod
    def hold(self, name: str, value: str) -> str:
        """What a cell carries into the next step."""

    @abstractmethod
    def row(self, step: str) -> str:
        """Where a step begins in a sequence of as many cells."""

    @abstractmethod
    def keep(self, name: str, row: str) -> str:
        """What the cells carry, into a row of what is saved."""

    @abstractmethod
    def recall(self, name: str, row: str) -> str:
        """The reverse of `keep`."""

    @abstractmethod
    def meet(self) -> list[str]:
        """Waits until all cells of a block have read and written."""

    @abstractmethod
    def steps(self, times: str, body: Sequence[str], before: Sequence[str] = ()) -> list[str]:
        """A loop over time, with the body for each cell of the block."""

    @abstractmethod
    def kernel(self, parts: Parts) -> str:
        """The function around the work in time."""


def saved(structure: Structure, variant: Variant) -> list[str]:
    """The states that a forward pass keeps: those that the backward pass reads, or, of a sparse one, all."""
    if variant.sparse:
        return [f"s{i}" for i in range(structure.states)]
    graph, gradients = structure.backward
    read = {graph.nodes[place].what for place in graph.reach(gradients.values())}
    return [f"s{i}" for i in range(structure.states) if f"s{i}" in read]


def statements(
    words: type[Words], graph: Graph, ends: Sequence[int], loaded: dict[int, str]
) -> tuple[list[str], dict[int, str]]:
    """A line for each node that the ends need, and the name of each node; `loaded` are those that have one."""
    names = dict(loaded)
    lines: list[str] = []
    for place in graph.reach(ends):
        node = graph.nodes[place]
        if place in names:
            continue
        if node.kind == "stop":  # no line; its argument has a name already, for `reach` sorts and arguments come first
            names[place] = names[node.args[0]]
            continue
        names[place] = f"n{len(lines)}"
        lines.append(f"{names[place]} = {words.node(node.kind, [names[arg] for arg in node.args])}")
    return lines, names


def leaves(
    words: type[Words], graph: Graph, structure: Structure, variant: Variant, ends: Sequence[int]
) -> tuple[dict[int, str], list[str]]:
    """How constants, literals and parameters of all cells are called, and the lines that fetch them once."""
    names: dict[int, str] = {}
    lines: list[str] = []
    wanted = set(graph.reach(ends))
    constants = graph.constants()
    for place, node in enumerate(graph.nodes):
        if place not in wanted:
            continue
        if node.kind == "constant":
            names[place] = f"k{constants.index(node.what)}"
            lines.append(f"{names[place]} = {words.number(constants.index(node.what))}")
        elif node.kind == "literal":
            # by the text, for -0.0 equals 0.0 and is another number
            names[place] = {"0.0": "zero", "1.0": "one"}.get(node.what, f"c{len(lines)}")
            if names[place] not in ("zero", "one"):
                lines.append(f"{names[place]} = {words.literal(node.what)}")
        elif node.kind == "input" and node.what[0] == "p" and not variant.each[int(node.what[1:])]:
            names[place] = f"q{node.what[1:]}"
            lines.append(f"{names[place]} = {words.number(len(constants) + int(node.what[1:]))}")
    return names, lines


def inputs(graph: Graph, ends: Sequence[int]) -> dict[str, int]:
    """The inputs that the ends need, by name."""
    return {graph.nodes[place].what: place for place in graph.reach(ends) if graph.nodes[place].kind == "input"}
