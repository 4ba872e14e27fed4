"""Neurons, by their kernels, beside Brian2's C++, each side in a process of its own.

python benchmarks/neurons.py          # all, a minute; writes its section of README.md
python benchmarks/neurons.py 20       # with 20 ms of biological time; only prints
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from readme import machine, put, table
from timing import in_turn

from sandbox import NEURONS, Neuron, simulate
from sandbox.machine.memory import keep_freed_memory
from sandbox.reference.brian import evolving, parameters, unit
from sandbox.reference.conformance.stimuli import strengths

HERE = Path(__file__).parent
NAMES = ("lif", "adex", "izhikevich", "hodgkin_huxley")
CELLS, DT, DURATION = 1000, 0.1, 1000.0  # dt and biological time in ms
ROUNDS = 5
TARGETS = {"lif": 0.4, "adex": 0.667, "izhikevich": 0.4, "hodgkin_huxley": 0.667}  # of the C++ program's time
Run = Callable[[], tuple[float, int]]  # one run: its seconds and its spikes
Worker = tuple[float, Run]  # the seconds of the build, and a run


def ours(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """Kernels, compiled into an empty cache by a first run of a few steps."""
    os.environ.update(SANDBOX_KERNELS="auto", SANDBOX_KERNEL_CACHE=folder)
    currents = current.expand(round(duration / DT), CELLS)

    def run(given: torch.Tensor) -> tuple[float, int]:
        begun = time.perf_counter()
        spikes = simulate(neuron, given, DT, record=()).spikes
        return time.perf_counter() - begun, int(spikes.sum())

    return run(currents[:100])[0], partial(run, currents)


def kept(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """The same where freed memory is kept, so that the spikes of a run are written where those of the last one were."""
    keep_freed_memory()
    return ours(neuron, current, duration, folder)


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


def standalone(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """A C++ program, built once with Brian2's own flags and started for every run, whose time it reports itself."""
    import brian2 as b2

    b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
    begun = time.perf_counter()
    cells = group(b2, neuron, current)
    spikes = b2.SpikeMonitor(cells)
    b2.Network(cells, spikes).run(duration * b2.ms, namespace={})
    b2.device.build(directory=folder, compile=True, run=False, with_output=False)
    build = time.perf_counter() - begun

    def run() -> tuple[float, int]:
        b2.device.run(directory=folder, with_output=False)
        return float(b2.device._last_run_time), int(spikes.num_spikes)

    return build, run


SIDES = {"kept": kept, "returned": ours, "standalone": standalone}
COMPILER = shutil.which("g++")  # without it, only our side runs


def serve(side: str, name: str, duration: float) -> None:
    """A process of its own for one side: says how long it built, then runs whenever it is asked to."""
    quiet()
    neuron = NEURONS[name]()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        build, run = SIDES[side](neuron, strengths(neuron, CELLS), duration, folder)
        print(build, flush=True)
        for _ in sys.stdin:
            print(*run(), flush=True)


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
        rivals = [Rival(side, name, duration) for side in (SIDES if COMPILER else ("kept", "returned"))]
        try:
            times = in_turn([rival.run for rival in rivals], ROUNDS)
        finally:
            for rival in rivals:
                rival.end()
        here, *there = (rival.spikes for rival in rivals)
        assert all(abs(n - here) <= 1e-3 * here for n in there), f"{name}: the sides fire differently: {here}, {there}"
        seconds = [f"{statistics.median(column):.3f} s" for column in zip(*times, strict=True)]
        ratios = [f"{statistics.median(row[side] / row[-1] for row in times):.3f}" for side in (0, 1)]
        builds = [f"{rival.build:.1f} s" for rival in rivals]
        if not COMPILER:
            seconds, ratios, builds = [*seconds, "no compiler"], ["no compiler"] * 2, [*builds, "no compiler"]
        rows.append(
            (f"{NEURONS[name].__name__}, {here} spikes", *seconds, *ratios, f"<= {TARGETS[name]:.3f}", *builds[1:])
        )
    return rows


def quiet() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)


BESIDE = """\
`simulate` of 1000 cells for {duration:g} ms at dt = 0.1 ms, float64, a constant current for each cell, spikes recorded
and nothing else; medians of five runs in turn, each side in a process of its own with one thread. The time of C++
standalone is the one that its program reports: its start is not counted, nor is counting spikes on either side.
Building is apart: for us the first steps with an empty cache, for C++ the writing and compiling of the program, with
the flags that Brian2 sets, of which -O3 and -ffast-math are two. A ratio is our time over theirs: below 1, we are
faster. Ours writes all spikes into an array of 80 MB, which a plain Python process fetches from the system anew in
every run and a process of `sandbox compare` (`sandbox.machine.memory`) does not.
"""


def section(duration: float) -> tuple[str, str]:
    """Title and text."""
    head = (
        "neuron",
        "ours, freed memory kept",
        "returned",
        "C++",
        "kept / C++",
        "returned / C++",
        "target",
        "building ours",
        "building C++",
    )
    rows = table(head, beside_brian2(duration))
    where = machine("torch", "brian2", "numba", "learning-rule-sandbox")
    return "Neurons beside Brian2", f"{BESIDE.format(duration=duration)}\n{rows}\n\n{where}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    elif len(sys.argv) > 1:
        print("## {}\n\n{}".format(*section(float(sys.argv[1]))))
    else:
        put(*section(DURATION))
