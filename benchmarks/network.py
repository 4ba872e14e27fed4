"""Circuits in one compiled loop against Brian2's C++, each side in its own process.

python benchmarks/network.py          # all, three minutes; writes its section of README.md
python benchmarks/network.py 20       # with 20 ms of biological time; only prints
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from neurons import COMPILER, Rival, Worker, program, serve
from readme import machine, put, table
from timing import in_turn

from sandbox import Circuit, Connection, CubaLIF, simulate_circuit
from sandbox.reference.circuit_in_brian2 import circuit_objects

DT, DURATION = 0.1, 1000.0  # dt and biological time in ms
ROUNDS = 7
TARGET = 1.0  # of the C++ program's time


def circuit(n: int, probability: float, several: bool = False) -> tuple[Circuit, torch.Tensor]:
    """Build a balanced circuit of CUBA cells, four of five excitatory, and the current of each cell.

    A synapse changes the synaptic current of its cell by an amount that is inverse to the number of inputs. Delays are
    1 ms, or between 0.5 and 3 ms, one for each synapse.
    """
    rng = torch.Generator().manual_seed(0)
    there = torch.rand(n, n, generator=rng) < probability
    size = torch.full((n,), 4.0, dtype=torch.float64)
    size[n * 4 // 5 :] = -20.0
    weights = (there * size / (probability * n)).to_sparse_csr()
    drive = 1.15 + 0.5 * torch.rand(n, generator=rng, dtype=torch.float64)
    delay = torch.randint(5, 31, (weights.values().numel(),), generator=rng) * DT if several else 1.0
    synapses = Connection(weights, kind="jump", variable="i_syn", delay=delay)
    return Circuit(CubaLIF(t_refractory=2.0), n, [synapses]), drive


CIRCUITS = {
    "1,000 cells, p = 0.1": lambda: circuit(1000, 0.1),
    "1,000 cells, p = 0.1, a delay for each synapse": lambda: circuit(1000, 0.1, several=True),
    "10,000 cells, p = 0.02": lambda: circuit(10_000, 0.02),
}


def ours(given: Circuit, drive: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build our side: the loop compiled into an empty cache by a first run of a few steps."""
    os.environ.update(SANDBOX_KERNELS="numba", SANDBOX_KERNEL_CACHE=folder)
    currents = drive.expand(round(duration / DT), given.n)

    def run(some: torch.Tensor) -> tuple[float, int]:
        begun = time.perf_counter()
        events = simulate_circuit(given, some, DT).events
        return time.perf_counter() - begun, len(events.step)

    return run(currents[:100])[0], lambda: run(currents)


def single(given: Circuit, drive: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build the same in float32."""
    (synapses,) = given.connections
    low = Connection(synapses.weights.float(), synapses.kind, synapses.delay, variable=synapses.variable)
    return ours(Circuit(given.neuron, given.n, [low]), drive.float(), duration, folder)


def standalone(given: Circuit, drive: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build a C++ program once with Brian2's flags; every run starts it, and it reports its own time."""
    import brian2 as b2

    b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
    begun = time.perf_counter()
    network = circuit_objects(given, drive.expand(round(duration / DT), given.n), DT)
    network.run(duration * b2.ms, namespace={})
    b2.device.build(directory=folder, compile=True, run=False, with_output=False)
    return time.perf_counter() - begun, partial(program, b2, folder, network["spikes"])


SIDES: dict[str, Callable[..., Worker]] = {"float64": ours, "float32": single, "standalone": standalone}


def beside_brian2(duration: float) -> list[tuple[str, ...]]:
    rows = []
    for name in CIRCUITS:
        sides = list(SIDES) if COMPILER else ["float64", "float32"]
        rivals = [Rival(side, name, duration, "network.py") for side in sides]
        try:
            times = in_turn([rival.run for rival in rivals], ROUNDS)
        finally:
            for rival in rivals:
                rival.end()
        counts = [rival.spikes for rival in rivals]
        n = CIRCUITS[name]()[0].n
        seconds = [f"{statistics.median(column):.4f} s" for column in zip(*times, strict=True)]
        ratios = [f"{statistics.median(row[side] / row[-1] for row in times):.2f}" for side in (0, 1)]
        builds = [f"{rival.build:.1f} s" for rival in rivals]
        if not COMPILER:
            seconds, ratios, builds = [*seconds, "no compiler"], ["no compiler"] * 2, [*builds, "no compiler"]
        rate = f"{counts[0] / n / duration * 1e3:.0f} Hz"
        fired = " / ".join(map(str, counts))
        rows.append((name, rate, fired, *seconds, *ratios, f"<= {TARGET:.2f}", builds[0], builds[-1]))
    return rows


BESIDE = """\
`simulate_circuit` of current-based cells for {duration:g} ms at dt = 0.1 ms, with a constant current for each cell,
sparse weights and delays; spikes are recorded as events. Medians of seven alternating runs, each side in its own
process with one thread. C++ standalone reports its own time, which excludes its start and the making of its synapses
from arrays; ours includes sorting out the events. Building is separate: for us the first steps with an empty cache, for
C++ writing and compiling the program with Brian2's flags, which include -O3 and -ffast-math. A ratio is our time over
theirs: below 1, we are faster. The sides round differently, and a recurrent circuit makes of one moved spike another
course, so numbers of spikes differ a little.
"""


def section(duration: float) -> tuple[str, str]:
    """Measure, and return title and text of the section."""
    head = (
        "circuit",
        "rate",
        "spikes",
        "float64",
        "float32",
        "C++",
        "float64 / C++",
        "float32 / C++",
        "target",
        "building ours",
        "building C++",
    )
    rows = table(head, beside_brian2(duration))
    where = machine("torch", "brian2", "numba", "learning-rule-sandbox")
    return "Circuits beside Brian2", f"{BESIDE.format(duration=duration)}\n{rows}\n\n{where}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(partial(SIDES[sys.argv[2]], *CIRCUITS[sys.argv[3]](), float(sys.argv[4])))
    elif len(sys.argv) > 1:
        print("## {}\n\n{}".format(*section(float(sys.argv[1]))))
    else:
        put(*section(DURATION))
