"""Compiled neurons against those written by hand.

python benchmarks/compiled.py         # a minute; writes its section of README.md
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import torch
from neurons import CELLS, DT, HERE, NAMES, compiled, quiet
from readme import machine, put, table
from timing import paired, summary

from sandbox import NEURONS, Neuron, scan
from sandbox.reference.conformance.stimuli import strengths

PROCESSES = 3  # a process keeps the memory layout that it happened to get


def measure_step(by_hand: Neuron, automatic: Neuron, backward: bool) -> tuple[float, float, float]:
    """Time both sides of one neuron in this process: medians [s] of one step, and the ratio."""
    steps = 100
    currents = strengths(by_hand, CELLS).float().expand(steps, CELLS).clone().requires_grad_(backward)

    def run(neuron: Neuron) -> Callable[[], torch.Tensor]:
        def one() -> torch.Tensor:
            with torch.set_grad_enabled(backward):
                spikes, _ = scan(neuron, currents, dt=DT)
            if backward:
                spikes.sum().backward()
            return spikes.sum()

        return one

    hand, ours = run(by_hand), run(automatic)
    assert torch.equal(hand(), ours()), "the two sides do not compute the same"
    a, b, ratio = paired(hand, ours, rounds=15, each=2)
    return a / steps, b / steps, ratio


def measure(name: str) -> list[tuple[float, float, float]]:
    """Time a step without and with the backward pass."""
    quiet()
    by_hand = NEURONS[name]()
    automatic = compiled(by_hand)
    return [measure_step(by_hand, automatic, backward) for backward in (False, True)]


def compiled_steps() -> list[tuple[str, ...]]:
    rows = []
    for name in NAMES:
        words = [sys.executable, str(HERE / "compiled.py"), "step", name]
        found = [json.loads(subprocess.run(words, capture_output=True, check=True).stdout) for _ in range(PROCESSES)]
        for number, what in enumerate(("step", "step and backward")):
            a, b, ratio = summary([process[number] for process in found])
            rows.append(
                (f"{NEURONS[name].__name__}, {what}", f"{a * 1e6:.1f} us", f"{b * 1e6:.1f} us", ratio, "<= 1.3")
            )
    return rows


WORDS = """\
One step of 1000 cells at dt = 0.1 ms in float32, as the mean over 100 steps; medians of three processes, with the
range. `from_brian2` compiles the equations of the hand-written neuron. Both run by kernels.
"""


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        rows = table(("what", "by hand", "compiled", "ratio", "target"), compiled_steps())
        where = machine("torch", "brian2", "learning-rule-sandbox")
        put("Compiled neurons beside those written by hand", f"{WORDS}\n{rows}\n\n{where}")
