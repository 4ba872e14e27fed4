"""The source of a kernel: all steps of a block of cells in one function, from whitelisted nodes alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sandbox.neurons.kernels.graph import Graph
from sandbox.neurons.kernels.kinds import KINDS
from sandbox.neurons.kernels.plan import Structure


class Variant(NamedTuple):
    """What a kernel of a structure is asked for."""

    each: tuple[bool, ...]  # whether a parameter has a value for each cell
    save: bool = False  # forward: keep what the backward pass reads
    given: tuple[bool, ...] = ()  # backward: which outputs have a gradient
    wanted: tuple[str, ...] = ()  # backward: inputs whose gradient is asked for, beside the states


class Buffers:
    """The addresses that a kernel is handed, in order, and how each is read and written."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def fetch(self, name: str, to: str | None = None) -> str:
        """One value of a sequence."""
        return f"{to or name} = fetch({name}_, {'ix' if name == 'x' else 'i'} + j, {self.names.index(name)})"

    def put(self, name: str, value: str) -> str:
        """One value of a sequence, written."""
        return f"put({name}_, i + j, {value}, {self.names.index(name)})"


def saved(structure: Structure, variant: Variant) -> list[str]:
    """The states before each step that the backward pass reads."""
    graph, gradients = structure.backward
    read = {graph.nodes[place].what for place in graph.reach(gradients.values())}
    return [f"s{i}" for i in range(structure.states) if f"s{i}" in read]


def statements(graph: Graph, ends: Sequence[int], loaded: dict[int, str]) -> tuple[list[str], dict[int, str]]:
    """A line for each node that the ends need, and the name of each node; `loaded` are those that have one."""
    names = dict(loaded)
    lines = []
    for place in graph.reach(ends):
        node = graph.nodes[place]
        if place in names:
            continue
        if node.kind == "stop":
            names[place] = names[node.args[0]]
            continue
        names[place] = f"n{place}"
        lines.append(f"n{place} = {KINDS[node.kind].code.format(*(names[arg] for arg in node.args))}")
    return lines, names


def leaves(graph: Graph, structure: Structure, variant: Variant, ends: Sequence[int]) -> tuple[dict[int, str], list[str]]:
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
            names[place] = {"0.0": "zero", "1.0": "one"}.get(node.what, f"c{place}")
            if names[place] == f"c{place}":
                lines.append(f"c{place} = F({node.what})")
        elif node.kind == "input" and node.what[0] == "p" and not variant.each[int(node.what[1:])]:
            names[place] = f"q{node.what[1:]}"
            lines.append(f"{names[place]} = load(C, {len(constants) + int(node.what[1:])})")
    return names, lines


def forward(structure: Structure, variant: Variant) -> tuple[str, list[str]]:
    """The forward kernel and the names of its buffers.

        for each block of cells: for each step: outputs, state <- step(current, state)

    Buffers: `x` `[T, M]`, with `sx` from one row to the next; `s*` `[M]`, the state, first and last; `p*` `[M]`;
    `d*` `[T, M]`; `out*` and `save_s*` `[T, M]`.
    """
    graph = structure.graph
    ends = [*structure.outputs, *structure.ends]
    known, fetched = leaves(graph, structure, variant, ends)
    used = inputs(graph, ends)
    states = [f"s{i}" for i in range(structure.states)]
    cells = [name for name in used if name[0] == "p" and used[name] not in known]
    steps = [name for name in used if name[0] in "xd"]
    kept = saved(structure, variant) if variant.save else []
    outs = [f"out{i}" for i in range(len(structure.outputs))]
    buffers = Buffers([*steps, *outs, *(f"save_{name}" for name in kept), *states, *cells])
    lines, names = statements(graph, ends, known | {place: name for name, place in used.items() if place not in known})
    body = [
        *(buffers.fetch(name) for name in steps),
        *(f"{name} = load({name}_here, j)" for name in [*states, *cells] if name in used),
        *(buffers.put(f"save_{name}", name) for name in kept),
        *lines,
        *(buffers.put(name, names[place]) for name, place in zip(outs, structure.outputs, strict=True)),
        *(f"store({name}_here, j, {names[place]})" for name, place in zip(states, structure.ends, strict=True)
          if names[place] != name),
    ]  # fmt: skip
    return written(buffers, fetched, [*states, *cells], [], "range(T)", body, states), buffers.names


def backward(structure: Structure, variant: Variant) -> tuple[str, list[str]]:
    """The backward kernel and the names of its buffers.

        for each block of cells: for each step, the last first: gradients of input and state <- those of outputs and state

    Buffers: as in `forward`; `g_out*` `[T, M]`; `g_end*` `[M]`, the gradient of the last state, and in the end that of
    the first; `g_x`, `g_d*` `[T, M]`; `g_p*` `[M]`, or `[blocks]` for a parameter of all cells.
    """
    graph, gradients = structure.backward
    states = [f"s{i}" for i in range(structure.states)]
    asked = [name for name in variant.wanted if name in gradients]
    ends = [gradients[name] for name in [*(s for s in states if s in gradients), *asked]]
    known, fetched = leaves(graph, structure, variant, ends)
    used = inputs(graph, ends)
    absent = {f"g_out{i}" for i, given in enumerate(variant.given) if not given}
    known |= {place: "zero" for name, place in used.items() if name in absent}
    cells = [name for name in used if name[0] == "p" and used[name] not in known]
    steps = [name for name in used if name[0] in "xd" or (name.startswith("g_out") and name not in absent)]
    before = [name for name in used if name[0] == "s"]
    bars = [f"g_end{i}" for i in range(structure.states)]
    sums = [f"g_{name}" for name in asked if name[0] == "p"]
    flows = [f"g_{name}" for name in asked if name[0] != "p"]
    buffers = Buffers([*steps, *(f"save_{name}" for name in before), *flows, *cells, *bars, *sums])
    lines, names = statements(graph, ends, known | {place: name for name, place in used.items() if place not in known})
    given = {name: names[gradients[name]] if name in gradients else "zero" for name in [*states, *asked]}
    body = [
        *(buffers.fetch(name) for name in steps),
        *(buffers.fetch(f"save_{name}", name) for name in before),
        *(f"{name} = load({name}_here, j)" for name in [*cells, *bars] if name in used),
        *lines,
        *(f"store(g_end{i}_here, j, {given[name]})" for i, name in enumerate(states)),
        *(buffers.put(name, given[name[2:]]) for name in flows),
        *(f"store({name}_here, j, load({name}_here, j) + {given[name[2:]]})" for name in sums),
    ]
    each = [name for name in sums if variant.each[int(name[3:])]]
    ending = [f"store({name}_, b // width, total({name}_here, n))" for name in sums if name not in each]
    back = "range(T - 1, -1, -1)"
    return written(buffers, fetched, [*cells, *bars], sums, back, body, [*bars, *each], ending), buffers.names


def inputs(graph: Graph, ends: Sequence[int]) -> dict[str, int]:
    """The inputs that the ends need, by name."""
    return {graph.nodes[place].what: place for place in graph.reach(ends) if graph.nodes[place].kind == "input"}


def written(
    buffers: Buffers,
    fetched: list[str],
    copied: list[str],
    cleared: list[str],
    times: str,
    body: list[str],
    kept: list[str],
    ending: Sequence[str] = (),
) -> str:
    """The function: blocks of cells, steps in time, cells; `_here` is a copy of a block's part of a buffer."""
    lines = [
        "def kernel(lo, hi, width, T, M, sx, A, c):",
        "    C = pointer(c, zero)",
        *(f"    {line}" for line in fetched),
        *(f"    {name}_ = pointer(A[{i}], zero)" for i, name in enumerate(buffers.names)),
        *(f"    {name}_here = stack(zero)" for name in [*copied, *cleared]),
        "    for b in range(lo, hi, width):",
        "        n = min(b + width, hi) - b",
        *(f"        copy({name}_here, 0, {name}_, b, n)" for name in copied),
        *(f"        clear({name}_here, n)" for name in cleared),
        f"        for t in {times}:",
        "            i = t * M + b",
        "            ix = t * sx + b",
        "            for j in range(n):",
        *(f"                {line}" for line in body),
        *(f"        copy({name}_, b, {name}_here, 0, n)" for name in kept),
        *(f"        {line}" for line in ending),
    ]
    return "\n".join(lines) + "\n"
