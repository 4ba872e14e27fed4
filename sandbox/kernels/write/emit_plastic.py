"""The source of the loop of a layer whose weights change in every step: cells, weights and traces of one sample."""

from __future__ import annotations

from typing import NamedTuple

from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.circuit_parts import Source
from sandbox.kernels.write.emit_circuit import cells
from sandbox.kernels.write.numba_words import Numba


class Plastic(NamedTuple):
    """What the source depends on."""

    structure: Structure
    each: tuple[bool, ...]  # whether a parameter has a value for each cell
    nearest: bool  # a spike sets its trace, in place of adding to it
    entry_after: bool  # traces of inputs are read after the spikes of the step are added
    cell_after: bool  # those of cells, likewise
    sign: int  # of what inputs change: -1, or 1 in a symmetric window
    triplets: bool
    low: bool  # whether there is such a bound
    high: bool
    learns: bool  # whether the weights of inputs change
    recurrent: bool  # whether cells hear each other
    recurrent_learns: bool


NUMBERS = ("fx", "fy", "fx2", "fy2", "ap", "am", "tp", "tm", "low", "high")  # of the buffer `given`, in order


def forward(spec: Plastic, double: bool) -> tuple[str, list[str], list[str]]:
    """Write the loop; return it with the names of its buffers and of its integers.

    Events of the inputs are `fired[rows[t]:rows[t + 1]]`, with their sizes in `sizes`. Buffers: weights `w` `[K, n]`,
    those of the cells themselves last; `x`, `x2` `[K]` and `y`, `y2` `[n]`, the traces; `bias`, `spikes` and `total`
    `[n]`, of which the spikes are those before the first step; `out` `[T, n]`; `given`, the numbers in `NUMBERS`;
    states `s*`, parameters `p*` and draws `d*` of the cells; `was` `[n]`, the sizes of what the cells hear, and lists
    of cells `now` and `new` `[n]`. `INPUTS` and `WIDTH` are numbers of entries: of inputs, and K.
    """
    to = Source(double)
    for name in ("INPUTS", "WIDTH", "now", "new"):
        to.integer(name)
    to.write(*(f"{name} = {to.at('given', str(i))}" for i, name in enumerate(NUMBERS)), "count = int64(0)", deep=1)
    if spec.recurrent:
        to.loop("for j in range(hi):", *_listed(to, "now", "count"), deep=1)
    to.loop("for t in range(lo, T):", "i = t * M", "first = load(rows, t)", "behind = load(rows, t + 1)", deep=1)
    to.loop("for j in range(hi):", to.put("total", "j", to.at("bias", "j")))
    arriving = ["for j in range(hi):", f"    {to.add('total', 'j', 'size * ' + to.at('w', 'row + j'))}"]
    _inputs(to, *arriving)
    if spec.recurrent:
        to.loop("for e in range(count):", to.put("was", "e", to.at("spikes", "int64(load(now, e))")))
        _heard(to, *arriving)
    for name, length in (("x", "WIDTH"), ("y", "hi")):
        kept = (name, f"{name}2") if spec.triplets else (name,)
        to.loop(f"for j in range({length}):", *(to.put(each, "j", f"f{each} * {to.at(each, 'j')}") for each in kept))
    cells(to, spec.structure, Numba, spec.each, "p", "", {"out": "spikes", "x": "total"})
    to.write("n = int64(0)")
    to.loop("for j in range(hi):", to.put("out", "i + j", to.at("spikes", "j")), *_listed(to, "new", "n"))
    for at_end in (False, True):
        if spec.entry_after is not at_end:
            _mark_entries(to, spec, "x")
        if spec.cell_after is not at_end:
            _mark_cells(to, spec, "y")
        if not at_end:
            _change(to, spec)
    if spec.triplets:
        _mark_entries(to, spec, "x2")
        _mark_cells(to, spec, "y2")
    to.loop("for e in range(n):", "store(now, e, load(new, e))")
    to.write("count = n")
    return to.text(False), to.reals, to.whole


def _listed(to: Source, into: str, count: str) -> list[str]:
    """Return lines that add cell j to a list if it has fired."""
    return [f"if {to.at('spikes', 'j')} != zero:", f"    store({into}, {count}, int32(j))", f"    {count} += 1"]


def _inputs(to: Source, *body: str) -> None:
    """Write a loop over the events of the inputs: entry `pre`, `size` and the `row` of its weights."""
    head = ["pre = int64(load(fired, e))", f"size = {to.at('sizes', 'e')}", "row = pre * hi"]
    to.loop("for e in range(first, behind):", *head, *body)


def _heard(to: Source, *body: str) -> None:
    """Write the same over what the cells hear of each other."""
    head = ["pre = INPUTS + int64(load(now, e))", f"size = {to.at('was', 'e')}", "row = pre * hi"]
    to.loop("for e in range(count):", *head, *body)


def _mark_entries(to: Source, spec: Plastic, x: str) -> None:
    """Write the spikes of the inputs in this step, and what cells hear, into a trace."""
    line = to.put(x, "pre", "size" if spec.nearest else f"{to.at(x, 'pre')} + size")
    _inputs(to, line)
    if spec.recurrent:
        _heard(to, line)


def _mark_cells(to: Source, spec: Plastic, y: str) -> None:
    """Write the spikes of the cells in this step into a trace."""
    fired = to.at("spikes", "j")
    line = to.put(y, "j", fired if spec.nearest else f"{to.at(y, 'j')} + {fired}")
    to.loop("for e in range(n):", "j = int64(load(new, e))", line)


def _change(to: Source, spec: Plastic) -> None:
    """Write what inputs change, then what cells change, each within the bounds."""
    sign = "-" if spec.sign < 0 else "+"
    slow = f"(am + tm * {to.at('x2', 'pre')})" if spec.triplets else "am"
    down = [f"scale = size * {slow}", "for j in range(hi):"]
    moved = f"{to.at('w', 'row + j')} {sign} scale * {to.at('y', 'j')}"
    down += [f"    {line}" for line in _bounded(to, spec, "row + j", moved)]
    if spec.learns:
        _inputs(to, *down)
    if spec.recurrent_learns:
        _heard(to, *down)
    first, last = ("0" if spec.learns else "INPUTS"), ("WIDTH" if spec.recurrent_learns else "INPUTS")
    slow = f"(ap + tp * {to.at('y2', 'j')})" if spec.triplets else "ap"
    up = f"{to.at('w', 'k * hi + j')} + scale * {to.at('x', 'k')}"
    to.loop(
        "for e in range(n):",
        "j = int64(load(new, e))",
        f"scale = {to.at('spikes', 'j')} * {slow}",
        f"for k in range({first}, {last}):",
        *(f"    {line}" for line in _bounded(to, spec, "k * hi + j", up)),
    )


def _bounded(to: Source, spec: Plastic, at: str, value: str) -> list[str]:
    """Return lines that write a weight within the bounds."""
    lines = [f"v = {value}"]
    lines += ["v = select(v < low, low, v)"] * spec.low + ["v = select(v > high, high, v)"] * spec.high
    return [*lines, to.put("w", at, "v")]
