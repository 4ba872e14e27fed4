"""The source of the adjoint of a circuit's loop, which goes through the steps from the last to the first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sandbox.kernels.trace.graph import Graph
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
from sandbox.kernels.write.emit import Variant, inputs, leaves, statements
from sandbox.kernels.write.numba_words import Numba


def backward(spec: Spec, double: bool) -> tuple[str, list[str], list[str]]:
    """Write the adjoint of the loop; return it with the names of its buffers and of its integers.

    Buffers beside those of `forward`: `g_end*` `[n]`, first the gradient of the last state and at the end that of the
    first; `worth*` `[steps, n]`, the gradient of what arrived at a state in step t and later; `error` `[n]`, that of
    the spikes; `told*` `[T, n]`, those of spikes and recorded variables; `g_x` `[T, n]`; `g_w*` as `w*`, and `v*`
    dense weights `[post, pre]`.
    """
    to = Source(double)
    to.write("for t in range(T - 1, -1, -1):", deep=1)
    to.write("i = t * M", "ix = t * sx")
    for number, state in enumerate(spec.record, 1):
        if spec.told[number]:
            to.loop("for j in range(hi):", to.add(f"g_end{state}", "j", to.at(f"told{number}", "i + j")))
    to.loop("for j in range(hi):", to.put("error", "j", to.at("told0", "i + j") if spec.told[0] else "zero"))
    if spec.second is not None:
        _adjoint(to, spec, spec.second, Later, spec.each[1], "r", "later")
    for target in dict.fromkeys(wire.target for wire in spec.wires):
        to.write(f"late = t * hi % {to.integer(f'SIZE{target}')}")
        to.loop("for j in range(hi):", to.put(f"worth{target}", "late + j", to.at(f"g_end{target}", "j")))
    for number, wire in enumerate(spec.wires):
        _credit(to, number, wire)
    _adjoint(to, spec, spec.first, Numba, spec.each[0], "p", "save")
    return to.text(spec.second is not None), to.reals, to.whole


def _credit(to: Source, number: int, wire: Wiring) -> None:
    """Write what a connection adds to the gradients of the spikes and of its weights."""
    worth, size = f"worth{wire.target}", to.integer(f"SIZE{wire.target}")
    weight, sums = f"w{number}", f"g_w{number}"
    if wire.several:
        to.write(f"late = t * hi % {size}")
        felt = later_of(to, number, size, lambda at: f"value += {to.at(weight, 'q')} * {to.at(worth, at)}")
        _felt(to, felt)
        if wire.learned:
            to.write(*fired_at("t", later_of(to, number, size, lambda at: to.add(sums, "q", to.at(worth, at)))))
    else:
        (delay,) = integers(to, number, "DELAY")
        to.write(f"late = (t + {delay}) * hi % {size}")
        if wire.dense:
            _dense_error(to, number, worth)
        else:
            at = row_of(
                to, number, wire, lambda post, q: f"value += {to.at(weight, q)} * {to.at(worth, f'late + {post}')}"
            )
            _felt(to, at)
        if wire.learned:
            learned = row_of(to, number, wire, lambda post, q: to.add(sums, q, to.at(worth, f"late + {post}")))
            to.write(*fired_at("t", learned))


def _felt(to: Source, body: Sequence[str]) -> None:
    """Write a loop over all cells `pre` in which `value` gains what a spike of it would be worth."""
    to.loop("for pre in range(hi):", f"value = {to.at('error', 'pre')}", *body, to.put("error", "pre", "value"))


def _dense_error(to: Source, number: int, worth: str) -> None:
    """Write what dense weights add to the gradient of spikes, row by row, so that it vectorises."""
    first, count, pre, pres = integers(to, number, "POST", "POSTS", "PRE", "PRES")
    to.loop(
        f"for row in range({count}):",
        f"value = {to.at(worth, f'late + {first} + row')}",
        "if value != zero:",
        f"    for j in range({pres}):",
        f"        {to.add('error', f'{pre} + j', 'value * ' + to.at(f'v{number}', f'row * {pres} + j'))}",
    )


def _adjoint(
    to: Source, spec: Spec, structure: Structure, words: type[Numba], each: tuple[bool, ...], param: str, save: str
) -> None:
    """Write the loop over cells of the adjoint of one step."""
    graph, gradients = structure.backward
    states = [f"s{i}" for i in range(structure.states)]
    apart, later = structure is spec.second, words is Later
    to_x = "x" in gradients and (apart or spec.for_x)
    ends = [gradients[name] for name in [*states, *["x"] * to_x] if name in gradients]
    known, fetched = leaves(words, graph, structure, Variant(each), ends)
    used = inputs(graph, ends)
    lines, names = statements(words, graph, ends, known | {p: n for n, p in used.items() if p not in known})
    if later and "x" in used:
        to.loop("for e in range(load(rows, t), load(rows, t + 1)):", to.put("spikes", "int64(load(fired, e))", "one"))
    to.write(*fetched)
    to.loop(
        "for j in range(hi):",
        *(_recalled(to, name, param, save, later) for name in used if used[name] not in known),
        *lines,
        *_passed(to, graph, states, gradients, names),
        *([to.add("error", "j", names[gradients["x"]])] if to_x and later else []),
        *([to.put("g_x", "i + j", names[gradients["x"]])] if to_x and not later else []),
    )
    if later and "x" in used:
        to.loop("for e in range(load(rows, t), load(rows, t + 1)):", to.put("spikes", "int64(load(fired, e))", "zero"))


def _recalled(to: Source, name: str, param: str, save: str, later: bool) -> str:
    """Return the line that reads what the adjoint of a cell needs."""
    if name[0] == "s":
        return f"{name} = {to.at(save + name[1:], 'i + j')}"
    if name.startswith("g_out"):
        return f"{name} = {to.at('error', 'j')}"
    return fetched_line(to, name, param, {"x": "spikes"} if later else {})


def _passed(
    to: Source, graph: Graph, states: Iterable[str], gradients: dict[str, int], names: dict[int, str]
) -> list[str]:
    """Return the lines that write the gradients of the states before the step."""
    given = {state: names[gradients[state]] if state in gradients else "zero" for state in states}
    return [to.put(f"g_end{state[1:]}", "j", value) for state, value in given.items() if value != f"g_end{state[1:]}"]
