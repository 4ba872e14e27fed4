"""Our times beside those of other libraries, from the other sections, and the least that the machine allows.

python benchmarks/peers.py         # seconds; writes the first section of README.md
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import online as sizes
import torch
from readme import machine, put, rows, table
from timing import spent

from sandbox import NEURONS, CubaLIF, Neuron

TITLE = "Beside peers"
MULTIPLIES, EXPONENTIALS = re.compile(r"\bd\w+/dt"), re.compile(r"\bexp(rel|m1)?\(")
CELLS_STEPS = 1000 * 10_000  # of a second at 0.1 ms
SYNAPSE = 8 + 4  # bytes of a weight and of an index
BRIAN = "Brian2 C++"


class Line(NamedTuple):
    """A row of the table; times in ms, and a limit of None where it is not known."""

    what: str
    peer: str
    theirs: float
    ours: float
    limit: float | None
    why: str

    def cells(self) -> tuple[str, ...]:
        limit = ("", "") if self.limit is None else (shown(self.limit), f"{self.ours / self.limit:.1f}")
        took = shown(self.theirs), shown(self.ours), f"{self.ours / self.theirs:.3f}"
        return self.what, self.peer, *took, *limit, self.why


def shown(time: float) -> str:
    return f"{time:.0f} ms" if time >= 100 else f"{time:.3g} ms"


class Rates(NamedTuple):
    """What this machine does at best on one thread."""

    copy: float  # bytes read and written a second
    product: float  # flops a second, float32
    multiply: float  # multiply-adds a second, float64, in the cache
    exponential: float  # a second, float64, in the cache


def best(call: Callable[[], object], count: int = 15) -> float:
    """Return the least CPU time of several calls [s], after one that is not counted."""
    call()
    return min(spent(call)() for _ in range(count))


def rates() -> Rates:
    large, other = torch.ones(2**25), torch.empty(2**25)
    left, right = torch.rand(3200, 784), torch.rand(784, 256)
    a, b, out = (torch.rand(2**14, dtype=torch.float64) for _ in range(3))

    def often(call: Callable[[], object]) -> Callable[[], None]:
        return lambda: [call() for _ in range(100)] and None

    return Rates(
        copy=2 * 4 * large.numel() / best(lambda: other.copy_(large)),
        product=2 * left.numel() * right.shape[1] / best(lambda: left @ right),
        multiply=100 * a.numel() / best(often(lambda: torch.addcmul(a, a, b, out=out))),
        exponential=100 * a.numel() / best(often(lambda: torch.exp(a, out=out))),
    )


def milliseconds(text: str) -> float:
    """Read a time.

    >>> milliseconds("1.5 ms"), milliseconds("0.02 s")
    (1.5, 20.0)
    """
    number, unit = text.split()
    return float(number) * {"ms": 1.0, "s": 1e3}[unit]


def timed(row: dict[str, str], theirs: str, ours: str) -> tuple[float, float] | None:
    """Return both times [ms]; None where a side was not measured."""
    try:
        return milliseconds(row[theirs]), milliseconds(row[ours])
    except (KeyError, ValueError):
        return None


def fused() -> list[Line]:
    """Rows of libraries in the section of fused loops, beside the arrays that have to move."""
    found = []
    section = rows("Fused time loops")
    moved = {row["what"].split(": ")[0]: row for row in section if " arrays at " in row.get("what", "")}
    for row in section:
        what, _, peer = row.get("what", "").partition(": ")
        known = re.match(r"(SpikingJelly|snnTorch|Norse) [\d.]+", peer)
        times = timed(row, "theirs", "ours")
        if known and times and what in moved:
            limit, why = milliseconds(moved[what]["theirs"]), moved[what]["what"].partition(": ")[2]
            found.append(Line(f"{what}, forward and backward", known[0], *times, limit, why))
    return found


def training() -> list[Line]:
    """Rows of SpikingJelly in the section of a training step, beside its products alone."""
    section = {row.get("against", ""): row for row in rows("A whole training step")}
    dense = timed(section.get("its products alone: dense", {}), "theirs", "ours")
    found = []
    for way in ("dense", "auto"):
        times = timed(section.get(f"SpikingJelly: {way}", {}), "theirs", "ours")
        if times:
            limit = dense[0] if dense and way == "dense" else None
            why = "its dense products" if way == "dense" else "products by events: as many as there are spikes"
            found.append(Line(f"a training step, 700-256-256-20, {way}", "SpikingJelly", *times, limit, why))
    return found


def online(rate: Rates) -> list[Line]:
    """Rows of braintrace, beside the dense products of a forward pass and of the gradient of its weights."""
    weights = sizes.INPUTS * sizes.CELLS + sizes.CELLS**2 + sizes.CELLS * sizes.CLASSES
    flops = 2 * 2 * weights * sizes.STEPS * sizes.BATCH
    found = []
    for row in rows("Online rules"):
        times = timed(row, "time", "ours")
        if "braintrace" in row and times:
            limit, why = 1e3 * flops / rate.product, f"dense products at {rate.product / 1e9:.0f} GFLOP/s"
            found.append(Line(f"an online gradient, {row['braintrace']}", "braintrace", *times, limit, why))
    return found


def arithmetic(neuron: Neuron, rate: Rates) -> tuple[float, str]:
    """Return the time [ms] that the exponentials and one multiply-add for each variable take, and what they are."""
    multiplies, exponentials = (len(each.findall(neuron.equations)) for each in (MULTIPLIES, EXPONENTIALS))
    took = 1e3 * CELLS_STEPS * (multiplies / rate.multiply + exponentials / rate.exponential)
    return took, f"exponentials: {exponentials}, multiply-adds: {multiplies} a cell and step"


def neurons(rate: Rates) -> list[Line]:
    """Rows of single neurons, beside the arithmetic that their equations name."""
    known = {type(made).__name__: made for made in (make() for make in NEURONS.values())}
    found = []
    for row in rows("Neurons beside Brian2"):
        name, times = row.get("neuron", "").split(",")[0], timed(row, "C++", "pairs")
        if name in known and times:
            found.append(Line(f"{name}, 1000 cells, 1 s", BRIAN, *times, *arithmetic(known[name], rate)))
    return found


def circuits(rate: Rates) -> list[Line]:
    """Rows of circuits, beside the arithmetic of the cells and the weights and indices that spikes read."""
    found = []
    for row in rows("Circuits beside Brian2"):
        label = re.match(r"([\d,]+) cells, p = ([\d.]+)", row.get("circuit", ""))
        times = timed(row, "C++", "float64")
        if label and times:
            cells, spikes = int(label[1].replace(",", "")), int(row["spikes"].split(" / ")[0])
            heard = spikes * float(label[2]) * cells
            cell, why = arithmetic(CubaLIF(), rate)
            limit = cell * cells / 1000 + 1e3 * heard * SYNAPSE / rate.copy
            found.append(Line(f"{row['circuit']}, 1 s", BRIAN, *times, limit, f"{why}; 12 bytes a synapse and spike"))
    return found


WORDS = """\
From the sections below: medians of times of one thread, ours over theirs (below 1, we are faster), and a limit: the
least time that the work named in the last column takes at the best speed measured on this machine, one kind of work
after another. That is for loops the data that must move; for a training step and an online gradient its dense matrix
products; for neurons and circuits the arithmetic that their equations name, and nothing else. A time below its limit
means that the work was done in another way, such as products by events. Speeds are the best of fifteen CPU times of
torch: a copy at {copy:.1f} GB/s, a product in float32 at {product:.0f} GFLOP/s, and in the cache in float64
{multiply:.2f} multiply-adds and {exponential:.2f} exponentials a nanosecond.
"""


def main() -> None:
    torch.set_num_threads(1)
    rate = rates()
    lines = [*fused(), *training(), *online(rate), *neurons(rate), *circuits(rate)]
    head = ("what", "peer", "theirs", "ours", "ours / theirs", "limit", "ours / limit", "the limit is")
    words = WORDS.format(**{name: value / 1e9 for name, value in rate._asdict().items()})
    put(TITLE, f"{words}\n{table(head, [line.cells() for line in lines])}\n\n{machine('torch')}", first=True)


if __name__ == "__main__":
    main()
