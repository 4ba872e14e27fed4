"""Common parts of forward and backward kernels: variants, the syntax of a back end, a line for each node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.structure import Structure


class Variant(NamedTuple):
    """The variant of a kernel: which values it gets, keeps and returns."""

    each: tuple[bool, ...]  # whether a parameter has a value for each cell
    save: bool = False  # forward: keep what the backward pass reads
    sparse: bool = False  # keep the state of every `every`-th step only, and compute the others again
    given: tuple[bool, ...] = ()  # backward: which outputs have a gradient
    wanted: tuple[str, ...] = ()  # backward: inputs whose gradient is returned, in addition to the states
    bits: bool = False  # forward: the first output is a bit for each cell, 64 of them a word


class Parts(NamedTuple):
    """The parts of a kernel, in their order.

    Values that cells carry from step to step are `copied` from a buffer or `cleared`; at the end they are `kept` in a
    buffer or `summed` over a block.
    """

    fetched: Sequence[str]  # lines that read the numbers that all cells share
    copied: Sequence[str]
    cleared: Sequence[str]
    work: Sequence[str]  # lines of the loops over time
    kept: Sequence[str]
    summed: Sequence[str] = ()


class Words(ABC):
    """The syntax of a back end; `names` are the buffers of the kernel, in order.

    In the source, `i` is the index of a cell in a step of a sequence, `k` in a step of a segment; `x_here` is a value
    that a cell carries from step to step. The current has its own index `ix`, because a constant one is a single row.
    """

    def __init__(self, names: list[str], bits: frozenset[str] = frozenset()) -> None:
        self.names = names
        self.bits = bits  # buffers of words of bits, one at most

    @staticmethod
    @abstractmethod
    def node(kind: str, args: Sequence[str]) -> str:
        """Write a node of `KINDS`; `args` are the names of its arguments."""

    @staticmethod
    @abstractmethod
    def number(place: int) -> str:
        """Write the expression for one of the numbers that all cells share."""

    @staticmethod
    @abstractmethod
    def literal(value: str) -> str:
        """Write a number that is compiled into the kernel."""

    @abstractmethod
    def read(self, name: str, at: str) -> str:
        """Write the expression for a value of a sequence."""

    @abstractmethod
    def carried(self, name: str) -> str:
        """Write the expression for a value that a cell carries."""

    def fetch(self, name: str, to: str | None = None, at: str = "i") -> str:
        """Write a line that reads a value of a sequence into a name."""
        return f"{to or name} = {self.read(name, 'ix' if name == 'x' else at)}"

    def held(self, name: str) -> str:
        """Write a line that reads a carried value into its name, before the step changes it."""
        return f"{name} = {self.carried(name)}"

    def gather(self, name: str, value: str) -> str:
        """Write a line that adds a term to a sum over time."""
        return self.hold(name, f"{self.carried(name)} + {value}")

    @abstractmethod
    def put(self, name: str, value: str, at: str = "i") -> str:
        """Write a line that stores a value of a sequence."""

    def mark(self, value: str) -> str:
        """Write a line that marks a cell in a step if a value is not zero; the step's marks become bits."""
        raise NotImplementedError(f"{type(self).__name__} writes no bits")

    @abstractmethod
    def hold(self, name: str, value: str) -> str:
        """Write a line that stores a value that a cell carries into the next step."""

    @abstractmethod
    def row(self, step: str) -> str:
        """Write the expression for the index at which a step begins in a sequence."""

    @abstractmethod
    def keep(self, name: str, row: str) -> str:
        """Write a line that copies a carried value of all cells into a row of the saved states."""

    @abstractmethod
    def recall(self, name: str, row: str) -> str:
        """Write a line that reverses `keep`."""

    @abstractmethod
    def meet(self) -> list[str]:
        """Write lines that wait until all cells of a block have read and written."""

    @abstractmethod
    def steps(self, times: str, body: Sequence[str], before: Sequence[str] = (), vectors: int = 1) -> list[str]:
        """Write a loop over time, with the body for each cell of the block, for so many vectors of cells at a time."""

    @abstractmethod
    def kernel(self, parts: Parts) -> str:
        """Write the function around the loops over time."""


def saved(structure: Structure, variant: Variant) -> list[str]:
    """Return the states that a forward pass keeps: those that the backward pass reads, or all in a sparse variant."""
    if variant.sparse:
        return [f"s{i}" for i in range(structure.states)]
    return list(structure.read_back)


def statements(
    words: type[Words], graph: Graph, ends: Sequence[int], loaded: dict[int, str]
) -> tuple[list[str], dict[int, str]]:
    """Return a line for each node that the ends need, and the names of the nodes; `loaded` ones have a name already."""
    names = dict(loaded)
    lines: list[str] = []
    for place in graph.reach(ends):
        node = graph.nodes[place]
        if place in names:
            continue
        if (
            node.kind == "stop"
        ):  # no line; its argument already has a name, because `reach` sorts and arguments come first
            names[place] = names[node.args[0]]
            continue
        names[place] = f"n{len(lines)}"
        lines.append(f"{names[place]} = {words.node(node.kind, [names[arg] for arg in node.args])}")
    return lines, names


def leaves(
    words: type[Words], graph: Graph, structure: Structure, variant: Variant, ends: Sequence[int]
) -> tuple[dict[int, str], list[str]]:
    """Return the names of constants, literals and parameters that all cells share, and the lines that read them."""
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
            # compared as text, because -0.0 == 0.0 although the two give different results
            names[place] = {"0.0": "zero", "1.0": "one"}.get(node.what, f"c{len(lines)}")
            if names[place] not in ("zero", "one"):
                lines.append(f"{names[place]} = {words.literal(node.what)}")
        elif node.kind == "input" and node.what[0] == "p" and not variant.each[int(node.what[1:])]:
            names[place] = f"q{node.what[1:]}"
            lines.append(f"{names[place]} = {words.number(len(constants) + int(node.what[1:]))}")
    return names, lines


def inputs(graph: Graph, ends: Sequence[int]) -> dict[str, int]:
    """Return the places of the inputs that the ends need, by name."""
    return {graph.nodes[place].what: place for place in graph.reach(ends) if graph.nodes[place].kind == "input"}
