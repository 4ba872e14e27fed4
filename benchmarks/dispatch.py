"""What kernels cost before they run, and what short sequences gain once they have earned one.

python benchmarks/dispatch.py    # under a minute; writes its section of README.md
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

import torch
from readme import machine, put, table

from sandbox import scan
from sandbox.kernels import forget, plans, using
from sandbox.kernels.launch import compiled
from sandbox.neurons import ALIF, LIF, HodgkinHuxley, Izhikevich, Neuron
from sandbox.neurons.stepping import body_of

NEURONS: tuple[Neuron, ...] = (LIF(), ALIF(), Izhikevich(), HodgkinHuxley())
STEPS, CELLS, DT = 100, 8, 0.1
ROUNDS = 31
FEW = 10  # passes of one step that are timed together
EARNING = 300  # calls


def seconds(call: Callable[[], object]) -> float:
    """Return the time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(one: Callable[[], object], other: Callable[[], object]) -> str:
    """Return how many times as long as the second call the first takes, in turn."""
    return f"{statistics.median(seconds(one) / seconds(other) for _ in range(ROUNDS)):.2f}"


def passed(neuron: Neuron, steps: int, mode: str, times: int = 1) -> None:
    """Run training passes."""
    x = torch.rand(steps, CELLS, requires_grad=True)
    with using(mode):
        for _ in range(times):
            scan(neuron, x * float(torch.as_tensor(neuron.rheobase)), dt=DT)[0].sum().backward()


def traced(neuron: Neuron) -> None:
    """Make the plan of a neuron."""
    plans.forget()
    state = neuron.initial_state((1,), torch.zeros(1))
    plans.planned(neuron, partial(body_of, (), False), ((), False), torch.float32, state, DT)


def row(neuron: Neuron) -> tuple[str, ...]:
    """Measure one neuron."""
    traced(neuron)
    plan = statistics.median(seconds(partial(traced, neuron)) for _ in range(ROUNDS))
    compiled.forget()
    whole = seconds(partial(passed, neuron, STEPS, "numba"))
    forget()
    first = ratio(partial(passed, neuron, 1, "auto", FEW), partial(passed, neuron, 1, "plain", FEW))
    for _ in range(EARNING):
        passed(neuron, STEPS, "auto")
    auto, plain = (partial(passed, neuron, STEPS, mode) for mode in ("auto", "plain"))
    return type(neuron).__name__, f"{1e3 * plan:.0f} ms", f"{plan / whole:.3f}", first, ratio(auto, plain)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["SANDBOX_KERNEL_CACHE"] = empty
        passed(LIF(reset="subtract"), STEPS, "numba")  # imports
        rows = [row(neuron) for neuron in NEURONS]
    head = ("neuron", "plan", "plan / first pass", "one step", f"{STEPS} steps x {CELLS} cells")
    note = (
        "`plan`: tracing a step, on one cell and on several, once for each set of parameters; beside the first pass, "
        "forward and backward, which compiles its kernel in an empty cache. The last two columns are training passes "
        "in the mode `auto`, as a share of the plain loop's time, calls in turn: of one step, which stays in the plain "
        f"loop, and after {EARNING} calls, when short sequences have earned their kernel."
    )
    put("Kernels before they run", f"{note}\n\n{table(head, rows)}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    main()
