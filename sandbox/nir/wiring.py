"""The edges of a graph as a chain of layers: subgraphs opened, loops of neurons found, and blocks with a shortcut.

A loop passes through one neuron and one Linear or Affine back to it, and takes a step, as is usual for graphs of NIR:
what a neuron puts out in one step it hears in the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox.nir.modules import READERS
from sandbox.nir.need import package

NEURONS = ("LIF", "CubaLIF", "LI", "CubaLI", "IF", "I")
WEIGHTS = ("Linear", "Affine")
ENDS = ("Input", "Output")
KNOWN = (*ENDS, *NEURONS, *READERS, "Delay")


class Identity:
    """A node that passes on what it hears: an input or output of a subgraph."""


@dataclass
class Wiring:
    """The nodes of a graph without its subgraphs, and the edges between them, without those of loops.

    Attributes:
        nodes: by name.
        after: the nodes behind each.
        before: the nodes in front of each.
        loops: the node whose weights lead from a neuron back to it, by the name of the neuron.
    """

    nodes: dict[str, Any]
    after: dict[str, list[str]]
    before: dict[str, list[str]]
    loops: dict[str, str] = field(default_factory=dict)

    def kind(self, name: str) -> str:
        """Return the type of a node."""
        return type(self.nodes[name]).__name__

    def cut(self, source: str, target: str) -> None:
        """Remove an edge."""
        self.after[source].remove(target)
        self.before[target].remove(source)


@dataclass(frozen=True)
class Block:
    """Two ways from one node to a neuron, which hears their sum; one of them has no neuron."""

    body: tuple[str, ...]  # names up to and with the neuron where the two meet
    shortcut: tuple[str, ...]


Piece = str | Block


def wired(graph: Any) -> Wiring:
    """Return the wiring of a graph.

    Raises:
        ValueError: for an unknown node, an edge to a node that is not there, several inputs or outputs, a loop without
            a neuron or through several, and a node that is not on a way from input to output.
    """
    nodes, edges = _opened(graph, "")
    for source, target in edges:
        for name in (source, target):
            if name not in nodes:
                raise ValueError(f"the edge {source!r} -> {target!r} names {name!r}, which is not among its nodes")
    for name, node in nodes.items():
        if type(node).__name__ not in (*KNOWN, "Identity"):
            raise ValueError(
                f"node {name!r} is a {type(node).__name__}, which has no counterpart here; these have: "
                f"{', '.join(sorted(KNOWN))}"
            )
    if len(set(edges)) != len(edges):
        double = next(edge for edge in edges if edges.count(edge) > 1)
        raise ValueError(f"the edge {double[0]!r} -> {double[1]!r} is there twice: remove one, or double the weights")
    found = Wiring(nodes, {name: [] for name in nodes}, {name: [] for name in nodes})
    for source, target in edges:
        found.after[source].append(target)
        found.before[target].append(source)
    for name in [name for name in nodes if found.kind(name) == "Identity"]:
        _spliced(found, name)
    for end in ENDS:
        those = [name for name in found.nodes if found.kind(name) == end]
        if len(those) != 1:
            raise ValueError(
                f"the graph has {len(those)} {end.lower()}s{': ' * bool(those)}{', '.join(those)}; wanted one: join "
                "them in front of the graph, or import each part by itself"
            )
    _find_loops(found)
    _require_ways(found)
    return found


def chain(found: Wiring) -> list[Piece]:
    """Return the pieces from input to output: names of nodes, and blocks.

    Raises:
        ValueError: for branches other than a block with a shortcut, with the name of the node where they begin or meet.
    """
    pieces: list[Piece] = []
    name = next(name for name in found.nodes if found.kind(name) == "Input")
    while found.kind(name) != "Output":
        behind = found.after[name]
        if len(behind) == 1:
            name = behind[0]
            pieces.append(name)
        elif len(behind) == 2:
            block = _block(found, name, behind)
            pieces.append(block)
            name = block.body[-1]
        else:
            raise ValueError(
                f"{len(behind)} edges leave node {name!r}: {', '.join(behind)}; two of them can be a block with a "
                "shortcut, more cannot be imported"
            )
    return pieces[:-1]


def _opened(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return nodes and edges of a graph with those of its subgraphs, whose inputs and outputs become identities."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    doors: dict[str, tuple[str, str]] = {}
    for name, node in graph.nodes.items():
        full = f"{prefix}{name}"
        if not isinstance(node, package().NIRGraph):
            inner = bool(prefix) and type(node).__name__ in ENDS
            nodes[full] = Identity() if inner else node
            continue
        ways = [[n for n, one in node.nodes.items() if type(one).__name__ == end] for end in ENDS]
        if any(len(way) != 1 for way in ways):
            raise ValueError(f"subgraph {full!r} has {len(ways[0])} inputs and {len(ways[1])} outputs; wanted one each")
        more, inside = _opened(node, f"{full}.")
        nodes |= more
        edges += inside
        doors[full] = (f"{full}.{ways[0][0]}", f"{full}.{ways[1][0]}")
    for source, target in graph.edges:
        a, b = f"{prefix}{source}", f"{prefix}{target}"
        edges.append((doors[a][1] if a in doors else a, doors[b][0] if b in doors else b))
    return nodes, edges


def _spliced(found: Wiring, name: str) -> None:
    """Remove a node that does nothing, and join its ends."""
    sources, targets = list(found.before[name]), list(found.after[name])
    for source in sources:
        found.cut(source, name)
    for target in targets:
        found.cut(name, target)
    for source in sources:
        for target in targets:
            found.after[source].append(target)
            found.before[target].append(source)
    del found.nodes[name], found.after[name], found.before[name]


def _reached(start: str, edges: dict[str, list[str]]) -> set[str]:
    seen, todo = set(), list(edges[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += edges[name]
    return seen


def _find_loops(found: Wiring) -> None:
    """Take the loops out of the edges."""
    reached = {name: _reached(name, found.after) for name in found.nodes}
    done: set[str] = set()
    for name in found.nodes:
        if name not in reached[name] or name in done:
            continue
        members = [other for other in found.nodes if other in reached[name] and name in reached[other]]
        done.update(members)
        neurons = [other for other in members if found.kind(other) in NEURONS]
        shown = " -> ".join([*members, members[0]])
        if not neurons:
            raise ValueError(f"the loop {shown} has no neuron, and would need itself in the same step: put one in it")
        if len(neurons) > 1:
            raise ValueError(
                f"the loop {shown} passes through {len(neurons)} neurons: {', '.join(neurons)}; a population here "
                "hears itself alone, so join them into one node with block weights"
            )
        back = [other for other in members if other != neurons[0]]
        if not back:
            raise ValueError(f"node {name!r} hears itself without weights: put nir.Linear(numpy.eye(n)) between")
        if len(back) > 1 or found.kind(back[0]) not in WEIGHTS:
            kinds = ", ".join(f"{other!r} ({found.kind(other)})" for other in back)
            raise ValueError(
                f"the loop {shown} passes through {kinds}; one Linear or Affine can lead back to a neuron, and takes a "
                "step by itself, without a Delay"
            )
        neuron, weights = neurons[0], back[0]
        if len(found.after[weights]) > 1 or len(found.before[weights]) > 1:
            raise ValueError(f"node {weights!r} leads from {neuron!r} back to it, and has other edges, too: copy it")
        found.cut(neuron, weights)
        found.cut(weights, neuron)
        found.loops[neuron] = weights


def _require_ways(found: Wiring) -> None:
    (start,), (end,) = ([name for name in found.nodes if found.kind(name) == kind] for kind in ENDS)
    on_a_way = {start, end} | (_reached(start, found.after) & _reached(end, found.before))
    lost = found.nodes.keys() - on_a_way - set(found.loops.values())
    if lost or end not in _reached(start, found.after):
        names = ", ".join(repr(name) for name in found.nodes if name in lost) or repr(end)
        raise ValueError(f"no way from input to output passes through {names}: connect or remove it")


def _block(found: Wiring, source: str, behind: Iterable[str]) -> Block:
    ways = [_followed(found, source, first) for first in behind]
    meets = {way[-1] for way in ways}
    if len(meets) > 1:
        raise ValueError(
            f"the two edges that leave node {source!r} meet at {' and '.join(map(repr, sorted(meets)))}: blocks inside "
            "of blocks, and branches that do not meet, cannot be imported"
        )
    (meet,) = meets
    if found.kind(meet) not in NEURONS or len(found.before[meet]) != 2:
        raise ValueError(
            f"{len(found.before[meet])} edges meet at node {meet!r}, which is a {found.kind(meet)}: two can meet, at a "
            f"neuron ({', '.join(NEURONS)})"
        )
    deep = [way for way in ways if any(found.kind(name) in (*NEURONS, "Delay") for name in way[:-1])]
    if len(deep) > 1:
        raise ValueError(f"both ways from node {source!r} to {meet!r} pass through neurons or delays: one of them can")
    ordered = sorted(ways, key=lambda way: way not in deep)
    if not deep and len(ordered[0]) == 1:
        ordered.reverse()  # what has no weights is the shortcut
    return Block(tuple(ordered[0]), tuple(ordered[1][:-1]))


def _followed(found: Wiring, source: str, name: str) -> list[str]:
    """Return the names from one node to the first where edges meet, that one included."""
    way = [name]
    while len(found.before[name]) == 1:
        behind = found.after[name]
        if len(behind) != 1:
            raise ValueError(
                f"{len(behind)} edges leave node {name!r}, which is on one of two ways from {source!r}: a branch of a "
                "block cannot branch again"
            )
        name = behind[0]
        way.append(name)
    return way
