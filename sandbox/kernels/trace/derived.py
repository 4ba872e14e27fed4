"""A step with its derivatives as further outputs: each next state and the output, by each state and the current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sandbox.kernels.trace.adjoint import adjoint
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.trace.writing import slope

STEADY = -1  # in a table: a derivative that is the same number in every step


class Derived(NamedTuple):
    """A structure, and its derivatives `[k + 1][k + 1]` of next states and output, by states and current.

    An entry is the number of an output of the structure, STEADY, or None for zero.
    """

    structure: Structure
    table: tuple[tuple[int | None, ...], ...]


def derived(structure: Structure, states: Sequence[int]) -> Derived:
    """Return the structure of a step whose further outputs are derivatives that change from step to step.

    Args:
        structure: of the step, whose first output is the cell's.
        states: numbers of the state variables that a derivative passes through.
    """
    graph = Graph()
    for node in structure.graph.nodes:
        graph._place(node)
    surrogates = dict(structure.spikes)
    wanted = [graph.input(name) for name in (*(f"s{i}" for i in states), "x")]
    one, outputs, table = graph.literal(1.0), list(structure.outputs), []
    for end in (*(structure.ends[i] for i in states), structure.outputs[0]):
        found = adjoint(graph, {end: [one]}, wanted, lambda spike, u: slope(graph, surrogates[spike], u))
        row: list[int | None] = []
        for place in wanted:
            if place not in found:
                row.append(None)
            elif steady(graph, found[place]):
                row.append(STEADY)
            else:
                outputs.append(found[place])
                row.append(len(outputs) - 1)
        table.append(tuple(row))
    return Derived(replace(structure, graph=graph, outputs=tuple(outputs)), tuple(table))


def steady(graph: Graph, place: int) -> bool:
    """Return whether a value depends on numbers and parameters only, which do not change from step to step."""
    nodes = (graph.nodes[each] for each in graph.reach([place]))
    return not any(node.kind == "input" and node.what[0] != "p" for node in nodes)
