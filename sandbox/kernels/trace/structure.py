"""The specification of a kernel: the graph of a step, its inputs and outputs, and its gradient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from rules.spikes.surrogate import Surrogate
from sandbox.kernels.trace.adjoint import adjoint
from sandbox.kernels.trace.graph import LEAVES, Graph
from sandbox.kernels.trace.kinds import CONDITIONS, COSTLY
from sandbox.kernels.trace.writing import slope


@dataclass(frozen=True)
class Structure:
    """The specification of a kernel: a graph, the numbers of its inputs, and the places of its results."""

    graph: Graph
    states: int
    params: int  # inputs that are constant in time
    draws: int  # inputs that differ in every step: currents after the first, then random numbers
    outputs: tuple[int, ...]
    ends: tuple[int, ...]
    spikes: tuple[tuple[int, Surrogate], ...]

    @cached_property
    def key(self) -> str:
        """Hash of the structure, the same in every process; numbers of the neuron do not count."""
        numbers = {what: i for i, what in enumerate(self.graph.constants())}
        nodes = [
            node._replace(what=numbers[node.what]) if node.kind == "constant" else node for node in self.graph.nodes
        ]
        facts = (nodes, self.sizes, self.outputs, self.ends, [(i, repr(s)) for i, s in self.spikes])
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]

    @cached_property
    def operations(self) -> int:
        """How many operations a step has."""
        places = self.graph.reach([*self.outputs, *self.ends])
        return sum(self.graph.nodes[place].kind not in LEAVES for place in places)

    @cached_property
    def backward(self) -> tuple[Graph, dict[str, int]]:
        """The graph with its adjoint added, and the places of the gradients by the names of the inputs."""
        graph = Graph()
        for node in self.graph.nodes:
            graph._place(node)
        seeds: dict[int, list[int]] = {}
        named = [("out", self.outputs), ("end", self.ends)]
        for name, places in named:
            for i, place in enumerate(places):
                seeds.setdefault(place, []).append(graph.input(f"g_{name}{i}"))
        surrogates = dict(self.spikes)
        inputs = ["x", *(f"{k}{i}" for k, n in self.sizes.items() for i in range(n))]
        wanted = {name: graph.input(name) for name in inputs}
        found = adjoint(graph, seeds, list(wanted.values()), lambda spike, u: slope(graph, surrogates[spike], u))
        return graph, {name: found[place] for name, place in wanted.items() if place in found}

    def followed(self, free: frozenset[str], steps: int, fed: int = 0) -> tuple[bool, ...]:
        """Return for each output and last state whether torch's autograd would follow it to an input.

        Args:
            free: names of the inputs that require a gradient.
            steps: of the sequence.
            fed: how many inputs, x before the draws, the first output of a step is part of in the next one.
        """
        live_states = {f"s{i}" for i in range(self.states)} & free
        shown = [False] * len(self.outputs)
        rest = free - live_states
        for _ in range(steps):
            live = self._live(rest | live_states)
            shown = [was or place in live for was, place in zip(shown, self.outputs, strict=True)]
            after = {f"s{i}" for i, place in enumerate(self.ends) if place in live}
            reached = {f"d{i - 1}" if i else "x" for i in range(fed)} if fed and shown[0] else set()
            if after == live_states and reached <= rest:
                break
            live_states, rest = after, rest | reached
        return (*shown, *(f"s{i}" in live_states for i in range(self.states)))

    def _live(self, free: frozenset[str]) -> set[int]:
        live: set[int] = set()
        for place, node in enumerate(self.graph.nodes):
            if node.kind == "input" and node.what in free:
                live.add(place)
            followed = () if node.kind in CONDITIONS or node.kind == "stop" else node.args
            if live.intersection(followed[1:] if node.kind == "where" else followed):
                live.add(place)
        return live

    @cached_property
    def read_back(self) -> tuple[str, ...]:
        """The states that the backward pass reads, of those before a step."""
        graph, gradients = self.backward
        read = {graph.nodes[place].what for place in graph.reach(gradients.values())}
        return tuple(f"s{i}" for i in range(self.states) if f"s{i}" in read)

    @cached_property
    def is_costly(self) -> bool:
        """Whether a step takes longer to compute again than to read from memory."""
        return any(node.kind in COSTLY for node in self.graph.nodes)

    @property
    def sizes(self) -> dict[str, int]:
        """How many inputs there are of each kind."""
        return {"s": self.states, "p": self.params, "d": self.draws}
