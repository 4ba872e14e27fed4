"""The source of a forward kernel: all steps of a block of cells in one function, of whitelisted nodes only."""

from __future__ import annotations

from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit import Parts, Variant, Words, inputs, leaves, saved, statements
from sandbox.kernels.write.numba_words import Numba

# AdEx and HodgkinHuxley take 0.70 of the time that one vector at a time takes, LIF 0.95, in float64 with AVX-512;
# adjoints, which hold more values than there are registers, become no faster and stay at one
VECTORS = 4


def forward(structure: Structure, variant: Variant, words: type[Words] = Numba) -> tuple[str, list[str]]:
    """Write the forward kernel in the syntax of a back end; return it with the names of its buffers.

        for each block of cells: for each step: outputs, state <- step(current, state)

    The first output is a bit for each cell and step if the variant has `bits`, in words of 64 cells, `[T, M / 64]`.

    Buffers: `x` `[T, M]`, with stride `sx` between rows; `s*` `[M]`, the first state, overwritten by the last one;
    `p*` `[M]`; `d*` `[T, M]`; `out*` `[T, M]`; `save_s*` `[T, M]`, or a row for every `every`-th step in a sparse
    variant.
    """
    graph = structure.graph
    ends = [*structure.outputs, *structure.ends]
    known, fetched = leaves(words, graph, structure, variant, ends)
    used = inputs(graph, ends)
    states = [f"s{i}" for i in range(structure.states)]
    cells = [name for name in used if name[0] == "p" and used[name] not in known]
    flows = [name for name in used if name[0] in "xd"]
    kept = saved(structure, variant) if variant.save else []
    outs = [f"out{i}" for i in range(len(structure.outputs))]
    bits = frozenset(outs[:1] if variant.bits else ())
    to = words([*flows, *outs, *(f"save_{name}" for name in kept), *states, *cells], bits)
    loaded = known | {place: name for name, place in used.items() if place not in known}
    lines, names = statements(words, graph, ends, loaded)
    # What is saved is the state before the step, from which the backward kernel computes the step again.
    body = [
        *(to.fetch(name) for name in flows),
        *(to.held(name) for name in [*states, *cells] if name in used or name in kept),
        *(to.put(f"save_{name}", name) for name in kept if not variant.sparse),
        *lines,
        *(
            to.mark(names[place]) if name in bits else to.put(name, names[place])
            for name, place in zip(outs, structure.outputs, strict=True)
        ),
        *(
            to.hold(name, names[place])
            for name, place in zip(states, structure.ends, strict=True)
            if names[place] != name
        ),
    ]
    sparse = [f"    {to.keep(name, 't // every')}" for name in kept if variant.sparse]
    work = to.steps("range(T)", body, ["if t % every == 0:", *sparse] if sparse else [], VECTORS)
    return to.kernel(Parts(fetched, [*states, *cells], [], work, states)), to.names
