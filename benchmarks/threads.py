"""What a second thread brings: simulations of neurons with one and with two, and how many cores were free meanwhile.

python benchmarks/threads.py     # half a minute; writes its section of README.md
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from readme import machine, put, table
from timing import in_turn

from rules.threads import Use, cores, left, use
from sandbox import NEURONS, kernels, simulate
from sandbox.machine.memory import keep_freed_memory
from sandbox.reference.conformance.stimuli import strengths

NAMES = ("adex", "hodgkin_huxley", "lif")
CELLS, STEPS, DT = 10_000, 500, 0.1
ROUNDS = 9
QUIET = 1.8  # free cores of two


def simulated(name: str, threads: int) -> Callable[[], float]:
    """Return a simulation that returns its wall time [s]."""
    neuron = NEURONS[name]()
    currents = strengths(neuron, CELLS).expand(STEPS, CELLS)

    def run() -> float:
        torch.set_num_threads(threads)
        begun = time.perf_counter()
        simulate(neuron, currents, DT, record=())
        return time.perf_counter() - begun

    run()
    return run


def row(name: str) -> tuple[tuple[str, ...], float]:
    """Return the row of a neuron, and the cores that other programs left free meanwhile."""
    calls = [simulated(name, threads) for threads in (1, 2)]
    before: Use = use()
    found = in_turn(calls, ROUNDS)
    free = left(before, use(), cores())
    one, two = (statistics.median(column) for column in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b in found)
    target = "" if name == "lif" else ">= 1.6"
    shown = (type(NEURONS[name]()).__name__, f"{one * 1e3:.0f} ms", f"{two * 1e3:.0f} ms", f"{ratio:.2f}", target)
    return (*shown, f"{free:.1f}"), free


WORDS = """\
`simulate` of {cells} cells for {steps} steps at dt = 0.1 ms in float64 by kernels, without a recording; medians of
{rounds} alternating runs of each. "Free" is what other programs left of {cores} cores while a row was measured; {said}
Why a target is missed: since a kernel runs four vectors of cells at a time, one thread of HodgkinHuxley takes about
half as long as before (`trend.csv` has the ratios), and a second one adds less to it.
"""


def main() -> None:
    keep_freed_memory()
    with kernels.using("numba"):
        rows, free = zip(*map(row, NAMES), strict=True)
    said = (
        "the machine was quiet."
        if min(free) >= QUIET
        else "it was busy, so the ratios say what a second thread brings there, and not on two free cores."
    )
    words = WORDS.format(cells=CELLS, steps=STEPS, rounds=ROUNDS, cores=cores(), said=said)
    body = table(("neuron", "one thread", "two threads", "faster by", "target", "free"), rows)
    put("A second thread", f"{words}\n{body}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    main()
