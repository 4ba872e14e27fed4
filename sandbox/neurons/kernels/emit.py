"""What the sources of forward and backward kernels share: names, lines for nodes, and the loop over blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sandbox.neurons.kernels.graph import Graph
from sandbox.neurons.kernels.kinds import KINDS
from sandbox.neurons.kernels.structure import Structure


class Variant(NamedTuple):
    """What a kernel of a structure is asked for."""

    each: tuple[bool, ...]  # whether a parameter has a value for each cell
    save: bool = False  # forward: keep what the backward pass reads
    sparse: bool = False  # keep the state of every `every`-th step alone, and compute the others again
    given: tuple[bool, ...] = ()  # backward: which outputs have a gradient
    wanted: tuple[str, ...] = ()  # backward: inputs whose gradient is asked for, beside the states


class Buffers:
    """The addresses that a kernel is handed, in order, and how each is read and written."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def fetch(self, name: str, to: str | None = None, at: str = "i") -> str:
        """One value of a sequence."""
        return f"{to or name} = fetch({name}_, {'ix' if name == 'x' else at} + j, {self.names.index(name)})"

    def put(self, name: str, value: str, at: str = "i") -> str:
        """One value of a sequence, written."""
        return f"put({name}_, {at} + j, {value}, {self.names.index(name)})"


def saved(structure: Structure, variant: Variant) -> list[str]:
    """The states that a forward pass keeps: those that the backward pass reads, or, of a sparse one, all."""
    if variant.sparse:
        return [f"s{i}" for i in range(structure.states)]
    graph, gradients = structure.backward
    read = {graph.nodes[place].what for place in graph.reach(gradients.values())}
    return [f"s{i}" for i in range(structure.states) if f"s{i}" in read]


def statements(graph: Graph, ends: Sequence[int], loaded: dict[int, str]) -> tuple[list[str], dict[int, str]]:
    """A line for each node that the ends need, and the name of each node; `loaded` are those that have one."""
    names = dict(loaded)
    lines: list[str] = []
    for place in graph.reach(ends):
        node = graph.nodes[place]
        if place in names:
            continue
        if node.kind == "stop":
            names[place] = names[node.args[0]]
            continue
        names[place] = f"n{len(lines)}"
        lines.append(f"{names[place]} = {KINDS[node.kind].code.format(*(names[arg] for arg in node.args))}")
    return lines, names


def leaves(
    graph: Graph, structure: Structure, variant: Variant, ends: Sequence[int]
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
            lines.append(f"{names[place]} = load(C, {constants.index(node.what)})")
        elif node.kind == "literal":
            names[place] = {"0.0": "zero", "1.0": "one"}.get(node.what, f"c{len(lines)}")
            if names[place] not in ("zero", "one"):
                lines.append(f"{names[place]} = F({node.what})")
        elif node.kind == "input" and node.what[0] == "p" and not variant.each[int(node.what[1:])]:
            names[place] = f"q{node.what[1:]}"
            lines.append(f"{names[place]} = load(C, {len(constants) + int(node.what[1:])})")
    return names, lines


def inputs(graph: Graph, ends: Sequence[int]) -> dict[str, int]:
    """The inputs that the ends need, by name."""
    return {graph.nodes[place].what: place for place in graph.reach(ends) if graph.nodes[place].kind == "input"}


def steps(times: str, body: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """A loop over time, and in each step over the cells of the block."""
    return [
        f"for t in {times}:",
        "    i = t * M + b",
        "    ix = t * sx + b",
        *(f"    {line}" for line in before),
        "    for j in range(n):",
        *(f"        {line}" for line in body),
    ]


def written(
    buffers: Buffers,
    fetched: Sequence[str],
    copied: Sequence[str],
    cleared: Sequence[str],
    work: Sequence[str],
    kept: Sequence[str],
    ending: Sequence[str] = (),
) -> str:
    """The function: blocks of cells around the work in time; `_here` is a copy of a block's part of a buffer."""
    lines = [
        "def kernel(lo, hi, width, T, M, sx, every, A, c):",
        "    C = pointer(c, zero)",
        *(f"    {line}" for line in fetched),
        *(f"    {name}_ = pointer(A[{i}], zero)" for i, name in enumerate(buffers.names)),
        *(f"    {name}_here = stack(zero)" for name in [*copied, *cleared]),
        "    for b in range(lo, hi, width):",
        "        n = min(b + width, hi) - b",
        *(f"        copy({name}_here, 0, {name}_, b, n)" for name in copied if name in buffers.names),
        *(f"        clear({name}_here, n)" for name in cleared),
        *(f"        {line}" for line in work),
        *(f"        copy({name}_, b, {name}_here, 0, n)" for name in kept),
        *(f"        {line}" for line in ending),
    ]
    return "\n".join(lines) + "\n"
