"""The source of the loop of a circuit: cells, spikes and synapses of one sample in one function."""

from __future__ import annotations

from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.circuit_parts import (
    Later,
    Source,
    Spec,
    Wiring,
    fetched_line,
    fired_at,
    integers,
    later_of,
    row_of,
)
from sandbox.kernels.write.emit import Variant, inputs, leaves, saved, statements
from sandbox.kernels.write.numba_words import Numba

FIRED = """\
for b in range(0, hi, 64):
    last = min(b + 64, hi)
    some = word(0)
    for j in range(b, last):
        some |= load(bits, j)
    if some != word(0):
        for j in range(b, last):
            store(fired, k, int32(j))
            k += load(bits, j) != word(0)
store(rows, t + 1, k)
"""


def forward(spec: Spec, double: bool) -> tuple[str, list[str], list[str]]:
    """Write the forward loop; return it with the names of its buffers and of its integers.

    Buffers of one sample: `x` `[T, n]` with stride `sx`; `d*`, `save*`, `later*`, `record*` `[T, n]` with stride `M`;
    states `s*`, parameters `p*` and `r*` of the reset, `spikes` `[n]`; `w*` `[synapses]`, or `[pre, post]` if dense;
    `ring*` `[steps, n]`, what arrives later if synapses have several delays.
    """
    to = Source(double)
    to.loop("for t in range(lo, T):", "k = load(rows, t)", deep=1)
    to.loop("if k + hi > every:", "A[0] = t", "return")
    to.write("i = t * M", "ix = t * sx")
    cells(to, spec.first, Numba, spec.each[0], "p", "save" if spec.save else "", {"out": "spikes"})
    to.integer("bits")
    to.write(*FIRED.splitlines())
    for number, wire in enumerate(spec.wires):
        _arrive(to, number, wire)
    if spec.second is not None:
        cells(to, spec.second, Later, spec.each[1], "r", "later" if spec.save else "", {"x": "spikes"})
    for number, state in enumerate(spec.record):
        to.loop("for j in range(hi):", to.put(f"record{number}", "i + j", to.at(f"s{state}", "j")))
    to.write("A[0] = T", deep=1)
    return to.text(spec.second is not None), to.reals, to.whole


def cells(
    to: Source,
    structure: Structure,
    words: type[Numba],
    each: tuple[bool, ...],
    param: str,
    save: str,
    names_of: dict[str, str],
) -> None:
    """Write the loop over cells of one step."""
    graph, ends = structure.graph, [*structure.outputs, *structure.ends]
    known, fetched = leaves(words, graph, structure, Variant(each), ends)
    used = inputs(graph, ends)
    kept = saved(structure, Variant(each, True)) if save else []
    needed = dict.fromkeys([*(name for name in used if used[name] not in known), *kept])
    lines, names = statements(words, graph, ends, known | {p: n for n, p in used.items() if p not in known})
    states = [f"s{i}" for i in range(structure.states)]
    to.write(*fetched)
    to.loop(
        "for j in range(hi):",
        *(fetched_line(to, name, param, names_of) for name in needed),
        *(to.put(save + name[1:], "i + j", name) for name in kept),
        *lines,
        *(to.put(names_of["out"], "j", names[place]) for place in structure.outputs),
        *(
            to.put(name, "j", names[place])
            for name, place in zip(states, structure.ends, strict=True)
            if names[place] != name
        ),
    )


def _arrive(to: Source, number: int, wire: Wiring) -> None:
    """Write what the spikes of a connection add to its target in step t."""
    target, weight = f"s{wire.target}", f"w{number}"
    if wire.several:
        ring, size = f"ring{number}", to.integer(f"SIZE{number}")
        inner = later_of(to, number, size, lambda at: to.add(ring, at, to.at(weight, "q")))
        to.write(f"late = t * hi % {size}")
        to.loop("for e in range(load(rows, t), k):", "pre = int64(load(fired, e))", *inner)
        to.loop(
            "for j in range(hi):",
            to.add(target, "j", to.at(ring, "late + j")),
            to.put(ring, "late + j", "zero"),
        )
        return
    (delay,) = integers(to, number, "DELAY")
    body = row_of(to, number, wire, lambda post, q: to.add(target, post, to.at(weight, q)))
    to.loop(f"if t >= {delay}:", *fired_at(f"t - {delay}", body))
