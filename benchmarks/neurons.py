"""Neurons beside Brian2's Cython and C++, each side in a process of its own.

python benchmarks/neurons.py          # all, a few minutes; writes its section of README.md
python benchmarks/neurons.py 20       # with 20 ms of biological time; only prints
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from readme import machine, put, table
from timing import in_turn

from sandbox import NEURONS, Neuron, simulate
from sandbox.reference.brian import evolving, parameters, unit
from sandbox.reference.conformance.stimuli import strengths

HERE = Path(__file__).parent
NAMES = ("lif", "adex", "izhikevich", "hodgkin_huxley")
CELLS, DT, DURATION = 1000, 0.1, 1000.0  # dt and biological time in ms
ROUNDS = 5
Worker = tuple[float, Callable[[], int]]  # the seconds of the build, and a run that returns the number of spikes


def ours(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    currents = current.expand(round(duration / DT), CELLS)
    return 0.0, lambda: int(simulate(neuron, currents, DT, record=()).spikes.sum())


def group(b2: Any, neuron: Neuron, current: torch.Tensor) -> Any:
    """The same cells in Brian2, at rest, with the same constant currents."""
    start = neuron.initial_state((CELLS,), current)
    cells = b2.NeuronGroup(
        CELLS,
        f"{neuron.equations}\ncurrent : amp (constant)",
        threshold=neuron.threshold,
        reset=neuron.reset_code or None,
        refractory=neuron.refractory or neuron.t_refractory * b2.ms,
        method=neuron.method,
        namespace={name: value * unit(neuron.units[name]) for name, value in parameters(neuron).items()},
        dt=DT * b2.ms,
    )
    for name in evolving(neuron, start):
        setattr(cells, name, getattr(start, name).numpy() * unit(neuron.units[name]))
    cells.current = current.numpy() * b2.nA
    return cells


def cython(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """Runtime code, built into an empty cache by a first run of one step."""
    import brian2 as b2

    b2.prefs.codegen.target = "cython"
    b2.prefs.codegen.runtime.cython.cache_dir = folder
    begun = time.perf_counter()
    cells = group(b2, neuron, current)
    spikes = b2.SpikeMonitor(cells)
    network = b2.Network(cells, spikes)
    network.store()
    network.run(DT * b2.ms, namespace={})
    build = time.perf_counter() - begun

    def run() -> int:
        network.restore()
        network.run(duration * b2.ms, namespace={})
        return int(spikes.num_spikes)

    return build, run


def standalone(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """A C++ program, built once and started for every run."""
    import brian2 as b2

    b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
    begun = time.perf_counter()
    cells = group(b2, neuron, current)
    spikes = b2.SpikeMonitor(cells)
    b2.Network(cells, spikes).run(duration * b2.ms, namespace={})
    b2.device.build(directory=folder, compile=True, run=False, with_output=False)
    build = time.perf_counter() - begun

    def run() -> int:
        b2.device.run(directory=folder, with_output=False)
        return int(spikes.num_spikes)

    return build, run


SIDES = {"ours": ours, "cython": cython, "standalone": standalone}


def serve(side: str, name: str, duration: float) -> None:
    """A process of its own for one side: says how long it built, then runs whenever it is asked to."""
    quiet()
    neuron = NEURONS[name]()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        build, run = SIDES[side](neuron, strengths(neuron, CELLS), duration, folder)
        print(build, flush=True)
        for _ in sys.stdin:
            begun = time.perf_counter()
            spikes = run()
            print(time.perf_counter() - begun, spikes, flush=True)


class Rival:
    """A process that serves one side; `spikes` are those of its last run."""

    def __init__(self, side: str, name: str, duration: float) -> None:
        words = [sys.executable, str(HERE / "neurons.py"), "serve", side, name, str(duration)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.build = float(self.answer()[0])
        self.spikes = 0

    def answer(self) -> list[str]:
        words = self.process.stdout.readline().split()
        if not words:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended; its complaint is above")
        return words

    def run(self) -> float:
        """Run once, and say how many seconds it took."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds, spikes = self.answer()
        self.spikes = int(spikes)
        return float(seconds)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def beside_brian2(duration: float) -> list[tuple[str, ...]]:
    rows = []
    for name in NAMES:
        rivals = [Rival(side, name, duration) for side in SIDES]
        try:
            times = in_turn([rival.run for rival in rivals], ROUNDS)
        finally:
            for rival in rivals:
                rival.end()
        here, *there = (rival.spikes for rival in rivals)
        assert all(abs(n - here) <= 1e-3 * here for n in there), f"{name}: the sides fire differently: {here}, {there}"
        seconds = [statistics.median(column) for column in zip(*times, strict=True)]
        ratios = [statistics.median(row[0] / row[side] for row in times) for side in (1, 2)]
        builds = [f"{rival.build:.1f} s" for rival in rivals[1:]]
        rows.append(
            (
                f"{NEURONS[name].__name__}, {here} spikes",
                *(f"{time:.2f} s" for time in seconds),
                *(f"{ratio:.1f}" for ratio in ratios),
                *builds,
            )
        )
    return rows


def quiet() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)


BESIDE = """\
`simulate` of 1000 cells for {duration:g} ms at dt = 0.1 ms, float64, a constant current for each cell, spikes recorded
and nothing else; medians of five runs in turn, each side in a process of its own. Building is apart from running: for
Cython the first step with an empty cache, for C++ standalone the writing and compiling of the program. Ours is a loop
in Python over vectorised steps and builds nothing. A ratio is our run time over theirs: above 1, Brian2 is faster.
"""


def section(duration: float) -> tuple[str, str]:
    """Title and text."""
    head = ("neuron", "ours", "Cython", "C++", "ours / Cython", "ours / C++", "building Cython", "building C++")
    rows = table(head, beside_brian2(duration))
    where = machine("torch", "brian2", "cython", "learning-rule-sandbox")
    return "Neurons beside Brian2", f"{BESIDE.format(duration=duration)}\n{rows}\n\n{where}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    elif len(sys.argv) > 1:
        print("## {}\n\n{}".format(*section(float(sys.argv[1]))))
    else:
        put(*section(DURATION))
