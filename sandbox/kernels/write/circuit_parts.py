"""Parts of the source of a circuit's loop: what it depends on, its buffers, and loops over synapses.

    forward    for each step: cells; spikes that fired; weights of those that arrive; the reset, if it is apart
    backward   for each step, the last first: the reset; what arrivals and spikes are worth; cells

Cells are loops over their nodes, as in the kernels of sequences, but states stay in memory from step to step. A reset
is apart if spikes jump to a variable that it reads or changes. Events are `fired[rows[t]:rows[t + 1]]` for step t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.write.numba_words import Numba

HEADER = """\
from numpy import int32, int64
word = {word}
def kernel(lo, hi, width, T, M, sx, every, A, c):
    rows = pointer(A[1], lo)
    fired = pointer(A[2], int32(0))
    C = pointer(c, zero)
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


def fetched_line(to: Source, name: str, param: str, names_of: dict[str, str]) -> str:
    """Return the line that reads an input of a cell; parameters have buffers with another first letter."""
    if name in names_of:
        return f"{name} = {to.at(names_of[name], 'j')}"
    buffer = param + name[1:] if name[0] == "p" else name
    return f"{name} = {to.at(buffer, index_of(name))}"


def fired_at(step: str, body: Sequence[str]) -> list[str]:
    """Return lines that run a body for every cell `pre` that fired in a step."""
    return [
        f"for e in range(load(rows, {step}), load(rows, {step} + 1)):",
        "    pre = int64(load(fired, e))",
        *(f"    {line}" for line in body),
    ]


def row_of(to: Source, number: int, wire: Wiring, line: Callable[[str, str], str]) -> list[str]:
    """Return lines that run `line(post, q)` for every synapse q of a cell `pre`, which leads to the cell `post`."""
    if not wire.dense:
        start, post = integers(to, number, "start", "post")
        return [
            f"for q in range(load({start}, pre), load({start}, pre + 1)):",
            f"    post = load({post}, q)",
            f"    {line('post', 'q')}",
        ]
    first, count, pre, pres = integers(to, number, "POST", "POSTS", "PRE", "PRES")
    return [
        f"if {pre} <= pre < {pre} + {pres}:",
        f"    row = (pre - {pre}) * {count}",
        f"    for j in range({count}):",
        f"        {line(f'{first} + j', 'row + j')}",
    ]


def later_of(to: Source, number: int, size: str, line: Callable[[str], str]) -> list[str]:
    """Return lines that run `line(at)` for every synapse of a cell `pre`, at the place where its spike of t arrives.

    A place is `(step % steps) n + post` in a ring of `size = steps n`; that of this step begins at `late`.
    """
    start, place = integers(to, number, "start", "place")
    return [
        f"for q in range(load({start}, pre), load({start}, pre + 1)):",
        f"    at = late + load({place}, q)",
        f"    at -= {size} * (at >= {size})",
        f"    {line('at')}",
    ]


def integers(to: Source, number: int, *names: str) -> list[str]:
    """Return the names of integers of a connection, which the launcher then has to give."""
    return [to.integer(f"{name}{number}") for name in names]
