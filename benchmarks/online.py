"""Online rules against backpropagation through time: time of a step, and memory over the length of a sequence.

python benchmarks/online.py            # two minutes; writes its section of README.md
python benchmarks/online.py 1          # with one round of each; only prints
python benchmarks/online.py 9 PYTHON   # beside braintrace, which that interpreter has; writes, too
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from readme import machine, put, table
from timing import in_turn, stopwatch

from rules import Batch, LearningRule, Trainer
from rules.contract import CreditRule
from rules.credit.bptt import BPTT
from rules.credit.online import Online
from rules.credit.online.walk import STEPS as STRETCH
from rules.objectives import OBJECTIVES
from rules.plasticity import Adam
from sandbox import kernels
from sandbox.networks.build import build
from sandbox.networks.network import Network
from sandbox.neurons import LIF, LeakyIntegrator

INPUTS, CELLS, CLASSES, STEPS, BATCH, FIRING = 64, 256, 10, 100, 128, 0.1
ROUNDS = 9
LOSS = OBJECTIVES["tet"]()
EPROP = Online(filter="readout")
LENGTHS = {EPROP: (100, 1000, 10_000), BPTT(): (100, 1000)}  # of BPTT, 10,000 steps would not fit everywhere
FEW = 8  # samples where memory is measured against the length

Step = Callable[[], object]


def network(reset: str = "subtract") -> Network:
    return build((INPUTS,), CLASSES, (f"{CELLS}r",), LIF(reset=reset), LeakyIntegrator())


def data(steps: int = STEPS, samples: int = BATCH) -> Batch:
    rng = torch.Generator().manual_seed(0)
    x = torch.empty(steps, samples, INPUTS).bernoulli_(FIRING, generator=rng)
    return Batch(x, torch.randint(CLASSES, (samples,), generator=rng))


def credit(rule: CreditRule, model: Network, batch: Batch, loop: str = "auto") -> Step:
    """Return a call that computes the gradient of a batch."""
    state = rule.init(model, torch.Generator().manual_seed(0))

    def one() -> None:
        with kernels.using(loop):
            rule.assign(model, LOSS, batch, state, torch.Generator().manual_seed(0))

    return one


def against(first: Step, others: dict[str, tuple[Step, int, str]], rounds: int) -> list[tuple[str, ...]]:
    """Time calls in turn; return rows of name, time, ratio to the first and target; a time is that of so many calls."""
    calls = [stopwatch(first), *(stopwatch(call) for call, _, _ in others.values())]
    for call in calls:  # compiles
        call()
    times = in_turn(calls, rounds)
    rows = []
    for place, (name, (_, count, target)) in enumerate(others.items(), 1):
        ours = statistics.median(row[place] for row in times)
        ratio = statistics.median(row[place] * count / row[0] for row in times)
        rows.append((name, f"{ours * count * 1e3:.1f} ms", f"{ratio:.2f}", target))
    begun = statistics.median(row[0] for row in times)
    return [("BPTT", f"{begun * 1e3:.1f} ms", "1", ""), *rows]


def times(rounds: int) -> list[tuple[str, ...]]:
    model, batch = network(), data()
    value, one = network("to_value"), data(steps=1)
    named = {
        "SLTT: no trace": Online(trace="step"),
        "OTTT: trace of the input": Online(trace="presynaptic"),
        "OSTL: trace of the synapse": Online(),
    }
    rows = {name: (credit(rule, model, batch), 1, "") for name, rule in named.items()}
    rows["e-prop: trace of the synapse, filtered"] = (credit(EPROP, model, batch), 1, "<= 1.5")
    rows["BPTT of one step, times T"] = (credit(BPTT(), model, one), STEPS, "")
    rows["OSTL, reset to a value: a trace for each weight"] = (credit(Online(), value, batch), 1, "")
    rows["e-prop, reset to a value"] = (credit(EPROP, value, batch), 1, "")
    return against(credit(BPTT(), model, batch), rows, rounds)


def by_torch(rounds: int) -> tuple[str, ...]:
    """Return how much longer traces of each weight take in torch than in the compiled loop."""
    model, batch = network("to_value"), data()
    fused, plain = credit(Online(), model, batch), credit(Online(), model, batch, "plain")
    (_, mine, ratio, _) = against(fused, {"plain": (plain, 1, "")}, rounds)[1]
    return ("the same in torch, over the compiled loop", mine, ratio, "")


def held(rule: CreditRule, steps: int, samples: int) -> tuple[int, int]:
    """Return the state bytes of a first step, and those of its traces."""
    trainer = Trainer(network(), LearningRule(LOSS, rule, Adam()))
    info = trainer.step(data(steps, samples))
    assert info.footprint is not None
    return info.footprint.state, info.cost.trace_bytes


def memory() -> list[tuple[str, ...]]:
    rows = []
    for rule, lengths in LENGTHS.items():
        for steps in lengths:
            state, traces = held(rule, steps, FEW)
            name = "e-prop" if rule is EPROP else "BPTT"
            rows.append((f"{name}, T = {steps:,}, B = {FEW}", f"{state / 2**20:.1f}", f"{traces / 2**20:.2f}", "", ""))
    ours, _ = held(EPROP, 1000, BATCH)
    theirs, _ = held(BPTT(), 1000, BATCH)
    sizes = f"{ours / 2**20:.1f} of {theirs / 2**20:.1f}"
    return [*rows, (f"e-prop of BPTT, T = 1,000, B = {BATCH}", sizes, "", f"{ours / theirs:.2f}", "<= 0.2")]


WORDS = """\
The gradient of one batch: {inputs} inputs that spike at {firing:.0%}, {cells} recurrent LIF cells with reset by
subtraction, {classes} outputs, the cross-entropy of every step; T = {steps}, B = {batch}, float32, one thread
(OMP_NUM_THREADS=1), {rounds} rounds. Calls alternate; times are medians,
ratios are medians within a round, over BPTT through the
kernels. State bytes are those of `StepInfo.footprint.state` in the first step: what is alive when a backward pass
begins. Trace bytes are those that the next step of a sequence needs.

{stretch} steps are taken together, in which what an input is worth is found backwards; the traces are read and written
once in as many steps. Where cells are reset to a value, each weight has a trace of its own.
"""


PAIRS = {"pp_prop": Online(trace="presynaptic"), "D-RTRL": Online(), "EProp, filtered": EPROP}
PEER = """\
A user of JAX would take braintrace {version}. Sizes, firing of the input, reset and loss are the same; weights are
drawn by each library. It runs on one core, in a process of its own; medians, compilation apart. To be at
least as fast was the target: with pp_prop, whose traces are outer products of averages, it is MISSED.
"""


def beside(python: str, rounds: int) -> str:
    """Return times of braintrace's algorithms, and of ours that keep as much of the past."""
    script = Path(__file__).with_name("online_peer.py")
    done = subprocess.run([python, str(script), str(rounds)], capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for name, rule in PAIRS.items():
        call = stopwatch(credit(rule, network(), data()))
        call()
        ours = statistics.median(call() for _ in range(rounds))
        pair = f"{rule.trace}{', filtered' if rule.filter else ''}"
        rows.append((name, f"{theirs[name] * 1e3:.0f} ms", pair, f"{ours * 1e3:.0f} ms", f"{ours / theirs[name]:.3f}"))
    words = PEER.format(version=theirs["version"])
    return f"{words}\n{table(('braintrace', 'time', 'trace', 'ours', 'ours over theirs'), rows)}"


def main(rounds: int, publish: Callable[[str, str], None], python: str | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    words = WORDS.format(
        inputs=INPUTS,
        firing=FIRING,
        cells=CELLS,
        classes=CLASSES,
        steps=STEPS,
        batch=BATCH,
        stretch=STRETCH,
        rounds=rounds,
    )
    timed = [*times(rounds), by_torch(max(1, rounds // 3))]
    speed = table(("rule", "time", "over BPTT", "target"), timed)
    room = table(("rule", "state [MiB]", "traces [MiB]", "ratio", "target"), memory())
    peer = f"{beside(python, rounds)}\n\n" if python else ""
    publish("Online rules", f"{words}\n{speed}\n\n{room}\n\n{peer}{machine('torch', 'numba')}")


def shown(title: str, text: str) -> None:
    print(f"## {title}\n\n{text}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else ROUNDS, shown if len(given) == 1 else put, given[1] if len(given) > 1 else None)
