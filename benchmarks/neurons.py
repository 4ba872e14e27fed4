"""Neurons run by kernels against Brian2's C++, each side in its own process.

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

from sandbox import NEURONS, Neuron, from_brian2, simulate
from sandbox.machine.memory import keep_freed_memory
from sandbox.reference.brian import evolving, parameters, unit
from sandbox.reference.conformance.stimuli import strengths

HERE = Path(__file__).parent
NAMES = ("lif", "adex", "izhikevich", "hodgkin_huxley")
CELLS, DT, DURATION = 1000, 0.1, 1000.0  # dt and biological time in ms
ROUNDS = 5
TARGETS = {"lif": 0.3, "adex": 0.25, "izhikevich": 0.3, "hodgkin_huxley": 0.25}  # of the C++ program's time
FASTER = {"lif": 2.5, "adex": 1.5, "izhikevich": 2.5, "hodgkin_huxley": 1.5}  # times, of neurons from equations
Run = Callable[[], tuple[float, int]]  # one run: its seconds and its spikes
Worker = tuple[float, Run]  # the seconds of the build, and a run


def ours(
    neuron: Neuron, current: torch.Tensor, folder: str, duration: float, record: Any, dtype: torch.dtype
) -> Worker:
    """Build our side: kernels compiled into an empty cache by a first run of a few steps."""
    keep_freed_memory()
    os.environ.update(SANDBOX_KERNELS="auto", SANDBOX_KERNEL_CACHE=folder)
    currents = current.to(dtype).expand(round(duration / DT), CELLS)

    def run(given: torch.Tensor) -> tuple[float, int]:
        begun = time.perf_counter()
        found = simulate(neuron, given, DT, record=record)
        took = time.perf_counter() - begun
        return took, len(found.events) if record else int(found.spikes.sum())

    return run(currents[:100])[0], partial(run, currents)


def pairs(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build our side, with spikes as pairs."""
    return ours(neuron, current, folder, duration, "events", torch.float64)


def compiled(neuron: Neuron) -> Neuron:
    """Compile the same neuron from its equations, by `from_brian2`."""
    import brian2 as b2

    start = neuron.initial_state((), torch.zeros((), dtype=torch.float64))
    return from_brian2(
        neuron.equations,
        neuron.threshold,
        neuron.reset_code or None,
        neuron.refractory or neuron.t_refractory * b2.ms,
        neuron.method,
        {name: value * unit(neuron.units[name]) for name, value in parameters(neuron).items()},
        initial={name: float(getattr(start, name)) for name in evolving(neuron, start)},
        swing=float(neuron.swing),
    )


def equations(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build our side from equations, with spikes as pairs; its build includes their compilation."""
    begun = time.perf_counter()
    made = compiled(neuron)
    took = time.perf_counter() - begun
    build, run = pairs(made, current, duration, folder)
    return took + build, run


def single(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build the same in single precision."""
    return ours(neuron, current, folder, duration, "events", torch.float32)


def dense(neuron: Neuron, current: torch.Tensor, duration: float, folder: str) -> Worker:
    """Build the same with spikes in an array of all cells and steps, for which freed memory is kept."""
    return ours(neuron, current, folder, duration, (), torch.float64)


def group(b2: Any, neuron: Neuron, current: torch.Tensor) -> Any:
    """Build the same cells in Brian2, at rest, with the same constant currents."""
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
    """Build a C++ program once with Brian2's flags; every run starts it, and it reports its own time."""
    import brian2 as b2

    b2.set_device("cpp_standalone", build_on_run=False, directory=folder)
    begun = time.perf_counter()
    cells = group(b2, neuron, current)
    spikes = b2.SpikeMonitor(cells)
    b2.Network(cells, spikes).run(duration * b2.ms, namespace={})
    b2.device.build(directory=folder, compile=True, run=False, with_output=False)
    return time.perf_counter() - begun, partial(program, b2, folder, spikes)


def program(b2: Any, folder: str, spikes: Any) -> tuple[float, int]:
    """Run a C++ program that was built, which reports its own time."""
    b2.device.run(directory=folder, with_output=False)
    return float(b2.device._last_run_time), int(spikes.num_spikes)


SIDES = {"pairs": pairs, "single": single, "dense": dense, "equations": equations, "standalone": standalone}
OURS = ("pairs", "single", "dense", "equations")
COMPILER = shutil.which("g++")  # without it, only our side runs


def serve(make: Callable[[str], Worker]) -> None:
    """Serve one side in this process: report the build time, then run once for every request."""
    quiet()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        build, run = make(folder)
        print(build, flush=True)
        for _ in sys.stdin:
            print(*run(), flush=True)


class Rival:
    """A process that serves one side; `spikes` is the count of its last run."""

    def __init__(self, side: str, name: str, duration: float, script: str = "neurons.py") -> None:
        words = [sys.executable, str(HERE / script), "serve", side, name, str(duration)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.build = float(self.answer()[0])
        self.spikes = 0

    def answer(self) -> list[str]:
        words = self.process.stdout.readline().split()
        if not words:
            raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended; its complaint is above")
        return words

    def run(self) -> float:
        """Run once, and return the seconds that it took."""
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
        rivals = [Rival(side, name, duration) for side in (SIDES if COMPILER else OURS)]
        try:
            times = in_turn([rival.run for rival in rivals], ROUNDS)
        finally:
            for rival in rivals:
                rival.end()
        here, narrow, *there = (rival.spikes for rival in rivals)
        assert all(abs(n - here) <= 1e-3 * here for n in there), f"{name}: the sides fire differently: {here}, {there}"
        medians = [statistics.median(column) for column in zip(*times, strict=True)]
        seconds = [f"{1e3 * median:.1f} ms" for median in medians]
        ratios = [f"{statistics.median(row[side] / row[-1] for row in times):.3f}" for side in range(len(OURS))]
        builds = [f"{rivals[0].build:.1f} s", f"{rivals[-1].build:.1f} s"]
        if not COMPILER:
            seconds, ratios, builds[1] = [*seconds, "no compiler"], ["no compiler"] * len(OURS), "no compiler"
        spikes = f"{NEURONS[name].__name__}, {here} spikes, {narrow} in float32"
        targets = f"<= {TARGETS[name]:.2f}, <= {1 / FASTER[name]:.2f} from equations"
        rows.append((spikes, *seconds, *ratios, targets, *builds))
    return rows


def quiet() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)


BESIDE = """\
`simulate` of 1000 cells for {duration:g} ms at dt = 0.1 ms, with a constant current for each cell; only spikes are
recorded: as pairs of step and cell (`record="events"`) in float64 and in float32, or in an array of 80 MB in float64,
for which freed memory is kept (`sandbox.machine.memory`); and as pairs of the same neuron compiled from its equations
(`from_brian2`). Medians of five alternating runs, each side in its own
process with one thread. C++ standalone computes in float64 and reports its own time, which excludes its start; no side
counts its spikes within the time. Building is separate: for us the first steps with an empty cache, for C++ writing
and compiling the program with Brian2's flags, which include -O3 and -ffast-math. A ratio is our time over theirs:
below 1, we are faster; the target is for pairs in float64.
"""


def section(duration: float) -> tuple[str, str]:
    """Measure, and return title and text of the section."""
    head = (
        "neuron",
        "pairs",
        "float32",
        "array",
        "from equations",
        "C++",
        "pairs / C++",
        "float32 / C++",
        "array / C++",
        "from equations / C++",
        "target",
        "building ours",
        "building C++",
    )
    rows = table(head, beside_brian2(duration))
    where = machine("torch", "brian2", "numba", "learning-rule-sandbox")
    return "Neurons beside Brian2", f"{BESIDE.format(duration=duration)}\n{rows}\n\n{where}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        cells = NEURONS[sys.argv[3]]()
        serve(partial(SIDES[sys.argv[2]], cells, strengths(cells, CELLS), float(sys.argv[4])))
    elif len(sys.argv) > 1:
        print("## {}\n\n{}".format(*section(float(sys.argv[1]))))
    else:
        put(*section(DURATION))
