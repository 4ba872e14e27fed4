"""The source of the loop of a circuit: cells, spikes and synapses of one sample in one function, and its adjoint.

    forward    for each step: cells; spikes that fired; weights of those that arrive; the reset, if it is apart
    backward   for each step, the last first: the reset; what arrivals and spikes are worth; cells

Cells are loops over their nodes, as in the kernels of sequences, but states stay in memory from step to step. A reset
is apart if spikes jump to a variable that it reads or changes. Events are `fired[rows[t]:rows[t + 1]]` for step t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.emit import Variant, inputs, leaves, saved, statements
from sandbox.kernels.write.numba_words import Numba

HEADER = """\
from numpy import int32, int64
word = {word}
def kernel(lo, hi, width, T, M, sx, every, A, c):
    rows = pointer(A[1], lo)
    fired = pointer(A[2], int32(0))
    C = pointer(c, zero)
"""
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


class Wiring(NamedTuple):
    """What of a connection is written into the source."""

    target: int  # number of the state that its spikes add to
    dense: bool
    several: bool  # whether each synapse has a delay of its own
    learned: bool = False  # backward: whether the gradient of its weights is wanted


class Spec(NamedTuple):
    """What the source of a circuit depends on; a cell's parameters are `each` in forward and reset."""

    first: Structure
    second: Structure | None  # the reset, if it is apart
    each: tuple[tuple[bool, ...], tuple[bool, ...]]
    wires: tuple[Wiring, ...]
    record: tuple[int, ...]
    save: bool = False
    told: tuple[bool, ...] = ()  # backward: whether there is a gradient of the spikes, and of each recorded variable
    for_x: bool = False  # backward: whether the gradient of the current is wanted


class Later(Numba):
    """The words of a reset that is apart: its numbers have a place of their own."""

    @staticmethod
    def number(place: int) -> str:
        return f"load(D, {place})"


class Source:
    """Lines of a kernel and the buffers that they use, in the order of their addresses."""

    def __init__(self, double: bool) -> None:
        self.reals: list[str] = []
        self.whole: list[str] = []  # addresses of integers and, with a name in capitals, integers
        self.lines: list[str] = []
        self.double = double

    def at(self, name: str, index: str) -> str:
        """Return the expression for an entry of a buffer."""
        return f"fetch({name}_, {index}, {self._number(name)})"

    def put(self, name: str, index: str, value: str) -> str:
        """Return the line that writes an entry of a buffer."""
        return f"put({name}_, {index}, {value}, {self._number(name)})"

    def add(self, name: str, index: str, value: str) -> str:
        """Return the line that adds to an entry of a buffer."""
        return self.put(name, index, f"{self.at(name, index)} + {value}")

    def integer(self, name: str) -> str:
        """Return the name of an integer, or of a buffer of integers."""
        if name not in self.whole:
            self.whole.append(name)
        return name

    def loop(self, head: str, *body: str, deep: int = 2) -> None:
        """Add a loop or a condition around lines."""
        self.lines += [f"{'    ' * deep}{head}", *(f"{'    ' * (deep + 1)}{line}" for line in body)]

    def write(self, *lines: str, deep: int = 2) -> None:
        """Add lines."""
        self.lines += ["    " * deep + line for line in lines]

    def _number(self, name: str) -> int:
        if name not in self.reals:
            self.reals.append(name)
        return self.reals.index(name)

    def text(self, second: bool) -> str:
        """Return the whole source."""
        head = HEADER.format(word="int64" if self.double else "int32").splitlines()
        head += ["    D = pointer(A[3], zero)"] * second
        base = 4 + len(self.reals)
        head += [f"    {name}_ = pointer(A[{4 + i}], zero)" for i, name in enumerate(self.reals)]
        for i, name in enumerate(self.whole):
            kind = {"start": "lo", "bits": "word(0)"}.get(name.rstrip("0123456789"), "int32(0)")
            value = f"A[{base + i}]"
            head.append(f"    {name} = {value if name.isupper() else f'pointer({value}, {kind})'}")
        return "\n".join([*head, *self.lines]) + "\n"


def index_of(name: str) -> str:
    """Return the index of a cell's value in step t: of the current, of a sequence, or of a value that is carried."""
    if name == "x":
        return "ix + j"
    return "i + j" if name[0] == "d" or name.startswith(("save", "record", "g_x", "told")) else "j"


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
    _cells(to, spec.first, Numba, spec.each[0], "p", "save" if spec.save else "", {"out": "spikes"})
    to.integer("bits")
    to.write(*FIRED.splitlines())
    for number, wire in enumerate(spec.wires):
        _arrive(to, number, wire)
    if spec.second is not None:
        _cells(to, spec.second, Later, spec.each[1], "r", "later" if spec.save else "", {"x": "spikes"})
    for number, state in enumerate(spec.record):
        to.loop("for j in range(hi):", to.put(f"record{number}", "i + j", to.at(f"s{state}", "j")))
    to.write("A[0] = T", deep=1)
    return to.text(spec.second is not None), to.reals, to.whole


def _cells(
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
        *(_fetched(to, name, param, names_of) for name in needed),
        *(to.put(save + name[1:], "i + j", name) for name in kept),
        *lines,
        *(to.put(names_of["out"], "j", names[place]) for place in structure.outputs),
        *(
            to.put(name, "j", names[place])
            for name, place in zip(states, structure.ends, strict=True)
            if names[place] != name
        ),
    )


def _fetched(to: Source, name: str, param: str, names_of: dict[str, str]) -> str:
    if name in names_of:
        return f"{name} = {to.at(names_of[name], 'j')}"
    buffer = param + name[1:] if name[0] == "p" else name
    return f"{name} = {to.at(buffer, index_of(name))}"


def _arrive(to: Source, number: int, wire: Wiring) -> None:
    """Write what the spikes of a connection add to its target in step t."""
    target, weight = f"s{wire.target}", f"w{number}"
    if wire.several:
        ring, size = f"ring{number}", to.integer(f"SIZE{number}")
        inner = _later(to, number, size, lambda at: to.add(ring, at, to.at(weight, "q")))
        to.write(f"late = t * hi % {size}")
        to.loop("for e in range(load(rows, t), k):", "pre = int64(load(fired, e))", *inner)
        to.loop(
            "for j in range(hi):",
            to.add(target, "j", to.at(ring, "late + j")),
            to.put(ring, "late + j", "zero"),
        )
        return
    (delay,) = _names(to, number, "DELAY")
    body = _row(to, number, wire, lambda post, q: to.add(target, post, to.at(weight, q)))
    to.loop(f"if t >= {delay}:", *_fired_at(f"t - {delay}", body))


def _fired_at(step: str, body: Sequence[str]) -> list[str]:
    """Return lines that run a body for every cell `pre` that fired in a step."""
    return [
        f"for e in range(load(rows, {step}), load(rows, {step} + 1)):",
        "    pre = int64(load(fired, e))",
        *(f"    {line}" for line in body),
    ]


def _row(to: Source, number: int, wire: Wiring, line: Callable[[str, str], str]) -> list[str]:
    """Return lines that run `line(post, q)` for every synapse q of a cell `pre`, which leads to the cell `post`."""
    if not wire.dense:
        start, post = _names(to, number, "start", "post")
        return [
            f"for q in range(load({start}, pre), load({start}, pre + 1)):",
            f"    post = load({post}, q)",
            f"    {line('post', 'q')}",
        ]
    first, count, pre, pres = _names(to, number, "POST", "POSTS", "PRE", "PRES")
    return [
        f"if {pre} <= pre < {pre} + {pres}:",
        f"    row = (pre - {pre}) * {count}",
        f"    for j in range({count}):",
        f"        {line(f'{first} + j', 'row + j')}",
    ]


def _later(to: Source, number: int, size: str, line: Callable[[str], str]) -> list[str]:
    """Return lines that run `line(at)` for every synapse of a cell `pre`, at the place where its spike of t arrives.

    A place is `(step % steps) n + post` in a ring of `size = steps n`; that of this step begins at `late`.
    """
    start, place = _names(to, number, "start", "place")
    return [
        f"for q in range(load({start}, pre), load({start}, pre + 1)):",
        f"    at = late + load({place}, q)",
        f"    at -= {size} * (at >= {size})",
        f"    {line('at')}",
    ]


def _names(to: Source, number: int, *names: str) -> list[str]:
    return [to.integer(f"{name}{number}") for name in names]


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
        felt = _later(to, number, size, lambda at: f"value += {to.at(weight, 'q')} * {to.at(worth, at)}")
        _felt(to, felt)
        learned = _later(to, number, size, lambda at: to.add(sums, "q", to.at(worth, at)))
    else:
        (delay,) = _names(to, number, "DELAY")
        to.write(f"late = (t + {delay}) * hi % {size}")
        if wire.dense:
            _dense_error(to, number, worth)
        else:
            at = _row(
                to, number, wire, lambda post, q: f"value += {to.at(weight, q)} * {to.at(worth, f'late + {post}')}"
            )
            _felt(to, at)
        learned = _row(to, number, wire, lambda post, q: to.add(sums, q, to.at(worth, f"late + {post}")))
    if wire.learned:
        to.write(*_fired_at("t", learned))


def _felt(to: Source, body: Sequence[str]) -> None:
    """Write a loop over all cells `pre` in which `value` gains what a spike of it would be worth."""
    to.loop("for pre in range(hi):", f"value = {to.at('error', 'pre')}", *body, to.put("error", "pre", "value"))


def _dense_error(to: Source, number: int, worth: str) -> None:
    """Write what dense weights add to the gradient of spikes, row by row, so that it vectorises."""
    first, count, pre, pres = _names(to, number, "POST", "POSTS", "PRE", "PRES")
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
    return _fetched(to, name, param, {"x": "spikes"} if later else {})


def _passed(
    to: Source, graph: Graph, states: Iterable[str], gradients: dict[str, int], names: dict[int, str]
) -> list[str]:
    """Return the lines that write the gradients of the states before the step."""
    given = {state: names[gradients[state]] if state in gradients else "zero" for state in states}
    return [to.put(f"g_end{state[1:]}", "j", value) for state, value in given.items() if value != f"g_end{state[1:]}"]
