"""A training step by EventProp against one by BPTT of the same network, whose inputs and hidden cells fire at 5 %.

python benchmarks/eventprop.py               # a minute; writes its section of README.md
python benchmarks/eventprop.py 1             # with one round of each; only prints
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from readme import machine, put, table
from timing import paired
from torch import Tensor

import rules
from rules.plasticity import SGD
from sandbox import calibrate, synapses
from sandbox.networks.build import build
from sandbox.networks.network import Network
from sandbox.neurons import CubaLIF, LeakyIntegrator

INPUTS, CLASSES, STEPS, BATCH, FIRING = 256, 10, 1000, 16, 0.05
HIDDEN = ((256,), (256, 256))
RATE = 1e-9  # so small that firing rates stay constant
ROUNDS = 15
WORDS = """\
`Trainer.step` of networks of `CubaLIF` with a leaky read-out, T = {steps}, B = {batch}, float32: the same weights and
inputs, calls in turn in one process with one thread, medians of {rounds} rounds, ratios of neighbouring calls. A share
of {firing:g} of inputs fires in a step; weights are scaled so that hidden cells do as well, {found}.
BPTT has the surrogate of the cells, compiled loops and products by events, where the density of an operand makes them
faster ("auto") or always ("events"). EventProp has the same forward pass and finds slopes and errors from above at
spikes alone, and sums up gradients of weights at the spikes of the input; a read-out is differentiated densely.
"""


def network(hidden: tuple[int, ...], x: Tensor) -> tuple[Network, list[float]]:
    """Return a network whose cells fire in a share of `FIRING` of the steps of `x`, and the shares."""
    net = build((INPUTS,), CLASSES, hidden, CubaLIF(), LeakyIntegrator(), seed=0)
    return net, list(calibrate(net, x, rate=FIRING).values())


def training(name: str, hidden: tuple[int, ...], batch: rules.Batch, way: str) -> Callable[[], object]:
    """Return a step of a rule with these synapses."""
    rule = rules.LearningRule(rules.OBJECTIVES["ce_mean"](), rules.make(name).credit, SGD(RATE))
    trainer = rules.Trainer(network(hidden, batch.x)[0], rule, health=None)

    def step() -> object:
        with synapses.using(way):
            return trainer.step(batch)

    return step


def main(rounds: int) -> None:
    """Measure, and write the section."""
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    x = torch.empty(STEPS, BATCH, INPUTS).bernoulli_(FIRING, generator=rng)
    batch = rules.Batch(x, torch.randint(CLASSES, (BATCH,), generator=rng))
    body, shares = [], []
    for hidden in HIDDEN:
        shares += network(hidden, x)[1]
        for way in ("auto", "events"):
            sides = [training(name, hidden, batch, way) for name in ("bptt", "eventprop")]
            paired(*sides, 2)  # compiles and calibrates
            a, b, ratio = paired(*sides, rounds)
            what = "-".join(map(str, (INPUTS, *hidden, CLASSES)))
            body.append((what, way, f"{1e3 * a:.1f} ms", f"{1e3 * b:.1f} ms", f"{ratio:.3f}", "< 1.00"))
    found = f"{min(shares):.4f} to {max(shares):.4f}"
    words = WORDS.format(steps=STEPS, batch=BATCH, rounds=rounds, firing=FIRING, found=found).strip()
    said = table(("network", "synapses", "BPTT", "EventProp", "EventProp / BPTT", "target"), body)
    if rounds == 1:
        print(said)
    else:
        put("EventProp beside BPTT", "\n\n".join([words, said, machine("torch", "numba")]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
