"""The source of a backward kernel: the adjoint of every step, the last first, recomputing what it needs."""

from __future__ import annotations

from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit import Parts, Variant, Words, inputs, leaves, statements
from sandbox.kernels.write.numba_words import Numba


def backward(structure: Structure, variant: Variant, words: type[Words] = Numba) -> tuple[str, list[str]]:
    """Write the backward kernel in the syntax of a back end; return it with the names of its buffers.

        for each block of cells: for each step, the last first: gradients of input, state <- those of outputs, state

    Buffers: as in the forward kernel; `g_out*` `[T, M]`; `g_end*` `[M]`, first the gradient of the last state, at the
    end that of the first state; `g_x`, `g_d*` `[T, M]`; `g_p*` `[M]`, or `[blocks]` for a parameter that all cells
    share. In a sparse variant, `trail_s*` `[every, M]` holds the states of the segment that is being computed again.
    """
    graph, gradients = structure.backward
    states = [f"s{i}" for i in range(structure.states)]
    requested = [name for name in variant.wanted if name in gradients]
    ends = [gradients[name] for name in [*(s for s in states if s in gradients), *requested]]
    again = [*structure.ends] if variant.sparse else []
    known, fetched = leaves(words, graph, structure, variant, [*ends, *again])
    used, before = inputs(graph, [*ends, *again]), [name for name in inputs(graph, ends) if name[0] == "s"]
    absent = {f"g_out{i}" for i, given in enumerate(variant.given) if not given}
    known |= {place: "zero" for name, place in used.items() if name in absent}
    cells = [name for name in used if name[0] == "p" and used[name] not in known]
    flows = [name for name in used if name[0] in "xd" or (name.startswith("g_out") and name not in absent)]
    bars = [f"g_end{i}" for i in range(structure.states)]
    sums = [f"g_{name}" for name in requested if name[0] == "p"]
    given_back = [f"g_{name}" for name in requested if name[0] != "p"]
    saves = [f"save_{name}" for name in (states if variant.sparse else before)]
    trail = [f"trail_{name}" for name in before if variant.sparse]
    # Below, name[2:] strips "g_", name[6:] strips "trail_", and name[3:] is the number in "g_p0".
    to = words([*flows, *saves, *trail, *given_back, *cells, *bars, *sums])
    loaded = known | {place: name for name, place in used.items() if place not in known}
    lines, names = statements(words, graph, ends, loaded)
    given = {name: names[gradients[name]] if name in gradients else "zero" for name in [*states, *requested]}
    body = [
        *(to.fetch(name) for name in flows if name in inputs(graph, ends)),
        *(to.fetch(name, name[6:], "k") for name in trail),
        *(to.fetch(f"save_{name}", name) for name in before if not variant.sparse),
        *(to.held(name) for name in [*cells, *bars] if name in used),
        *lines,
        *(to.hold(f"g_end{i}", given[name]) for i, name in enumerate(states)),
        *(to.put(name, given[name[2:]]) for name in given_back),
        *(to.gather(name, given[name[2:]]) for name in sums),
    ]
    work = to.steps("range(T - 1, -1, -1)", body)
    if variant.sparse:
        work = _segments(structure, graph, to, loaded, [*flows, *cells], trail, body)
    each = [name for name in sums if variant.each[int(name[3:])]]
    cleared = [*sums, *(states if variant.sparse else [])]
    shared = [name for name in sums if name not in each]
    return to.kernel(Parts(fetched, [*cells, *bars], cleared, work, [*bars, *each], shared)), to.names


def _segments(
    structure: Structure,
    graph: Graph,
    to: Words,
    loaded: dict[int, str],
    shared: list[str],
    trail: list[str],
    body: list[str],
) -> list[str]:
    """Write the loop over segments of steps, the last first: forward again from the saved state, then backward."""
    states = [f"s{i}" for i in range(structure.states)]
    used = inputs(graph, structure.ends)
    lines, names = statements(type(to), graph, structure.ends, loaded)
    ahead = [
        *(to.fetch(name) for name in shared if name in used and name[0] in "xd"),
        *(to.held(name) for name in [*states, *shared] if name[0] not in "xdg"),
        *(to.put(name, name[6:], "k") for name in trail),
        *lines,
        *(to.hold(name, names[place]) for name, place in zip(states, structure.ends, strict=True)),
    ]
    place = [f"k = {to.row('t - first')}"]
    within = [
        *(to.recall(name, "segment") for name in states),
        *to.steps("range(first, last)", ahead, place),
        *to.meet(),
        *to.steps("range(last - 1, first - 1, -1)", body, place),
        *to.meet(),
    ]
    return [
        "for segment in range((T - 1) // every, -1, -1):",
        "    first = segment * every",
        "    last = min(first + every, T)",
        *(f"    {line}" for line in within),
    ]
