"""Time to the first result in a fresh process, with an empty and with a full cache of kernels.

python benchmarks/first_result.py            # a minute; writes its section of README.md
python benchmarks/first_result.py lif        # the times [s] of this process as JSON
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from readme import machine, put, table
from timing import paired, stopwatch

NAMES = ("lif", "izhikevich", "adex", "hodgkin_huxley")
STEPS, CELLS, DT = 1000, 100, 0.1
PROCESSES = 3  # that find a full cache
HIDDEN = "import sys; sys.modules['numba'] = None; "  # as if it were not installed

Row = tuple[str, str, str, str, str]


def first(name: str) -> dict[str, float]:
    """Time importing torch, importing the library, and two successive simulations in this process [s]."""
    at = [time.perf_counter()]
    import torch

    at.append(time.perf_counter())
    import sandbox

    at.append(time.perf_counter())
    assert "numba" not in sys.modules, "importing the library alone imports numba"
    torch.set_num_threads(1)
    neuron = sandbox.NEURONS[name]()
    x = torch.full((STEPS, CELLS), 2 * float(neuron.rheobase), dtype=torch.float64)
    import numba  # noqa: F401  # as the first kernel does

    at.append(time.perf_counter())
    for _ in range(2):
        sandbox.simulate(neuron, x, DT)
        at.append(time.perf_counter())
    assert any(name.startswith("sandbox.kernels.launch.compiled") for name in sys.modules), "no kernel ran"
    torch_, library, compiler, result, again = (b - a for a, b in zip(at, at[1:], strict=False))
    return {"torch": torch_, "library": library, "numba": compiler, "first": compiler + result, "again": again}


def fresh(name: str, folder: str) -> dict[str, float]:
    """Time the same in a new process that keeps its kernels in this folder."""
    words = [sys.executable, "-W", "ignore", __file__, name]
    environment = {**os.environ, "SANDBOX_KERNEL_CACHE": folder, "SANDBOX_KERNELS": "auto"}
    found = json.loads(subprocess.run(words, env=environment, capture_output=True, check=True).stdout)
    return {str(key): float(value) for key, value in found.items()}


def median(found: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in found)


def results() -> tuple[list[Row], list[dict[str, float]]]:
    """Return a row for each neuron, and all measurements."""
    rows, everything = [], []
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            cold = fresh(name, folder)
            warm = [fresh(name, folder) for _ in range(PROCESSES)]
        rows.append(
            (
                name,
                f"{cold['first']:.2f} s",
                f"{median(warm, 'first'):.2f} s",
                f"{median(warm, 'numba'):.2f} s",
                f"{1e3 * median(warm, 'again'):.1f} ms",
            )
        )
        everything += [cold, *warm]
    return rows, everything


def imports() -> tuple[float, float, float]:
    """Time `import sandbox` without and with numba, in separate processes: medians [s] and the ratio."""
    sides = (f"{HIDDEN}import sandbox", "import sandbox")
    a, b = ([sys.executable, "-W", "ignore", "-c", side] for side in sides)
    return paired(lambda: subprocess.run(a, check=True), lambda: subprocess.run(b, check=True), rounds=3)


WORDS = """\
`simulate` of {cells} cells for {steps} steps in float64, in a fresh process that has imported torch ({torch:.2f} s)
and this library ({library:.2f} s more, without numba); starting Python takes {start:.2f} s. The time to the first
result includes importing numba, and tracing and compiling the kernels, or reading them from the cache. Times from
the cache are medians of {count} processes. `import sandbox` takes {ratio:.3f} of its time without numba installed
({absent:.2f} s).
"""


def main() -> None:
    rows, found = results()
    absent, _, ratio = imports()
    nothing = stopwatch(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    start = statistics.median(nothing() for _ in range(5))
    words = WORDS.format(
        cells=CELLS,
        steps=STEPS,
        torch=median(found, "torch"),
        library=median(found, "library"),
        start=start,
        count=PROCESSES,
        ratio=ratio,
        absent=absent,
    )
    body = table(
        ("neuron", "first result, empty cache", "from the cache", "of which importing numba", "second result"),
        [*rows, ("target", "<= 3 s", "<= 0.5 s", "", "")],
    )
    put("The first result", f"{words}\n{body}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(first(sys.argv[1])))
    else:
        main()
