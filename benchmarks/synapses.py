"""Event-driven synapses against dense products in a training step, and the density at which they are equal.

python benchmarks/synapses.py         # under a minute; writes its section of README.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from readme import machine, put, table
from timing import paired
from torch import Tensor

from sandbox import build
from sandbox.networks.network import fold
from sandbox.synapses import EventLinear, using

STEPS, BATCH, FIRING = 100, 128, 0.05
NETWORK = (700, 256, 256, 20)
SHAPES, ROWS = ((784, 256), (256, 256), (1024, 1024)), 2560
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)

Step = Callable[[], object]


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def layer(inner: int, out: int, samples: int, density: float, first: bool = False) -> Step:
    """Return a call of forward, weight gradient and, except in a first layer, input gradient."""
    synapse = EventLinear(inner, out)
    x = (torch.rand(samples, inner, generator=rng()) < density).float().requires_grad_(not first)
    error = torch.randn(samples, out, generator=rng())
    wanted = [*synapse.parameters(), *([] if first else [x])]
    return lambda: torch.autograd.grad(synapse(x), wanted, error)


def done(word: str, steps: Sequence[Step]) -> None:
    with using(word):
        for step in steps:
            step()


def beside(a: str, b: str, steps: Sequence[Step], rounds: int = 7) -> tuple[float, float, float]:
    """Time both ways: medians [s] and the ratio; untimed first calls compile and calibrate."""
    for word in (a, b):
        done(word, steps)
    return paired(partial(done, a, steps), partial(done, b, steps), rounds)


def row(what: str, found: tuple[float, float, float], target: str) -> tuple[str, str, str, str, str]:
    return what, f"{found[0] * 1e3:.1f} ms", f"{found[1] * 1e3:.1f} ms", f"{found[2]:.3f}", target


def network() -> list[tuple[str, str, str, str, str]]:
    sizes = list(zip(NETWORK, NETWORK[1:], strict=False))
    layers = [layer(*size, STEPS * BATCH, FIRING, number == 0) for number, size in enumerate(sizes)]
    name = f"{'-'.join(map(str, NETWORK))}, T = {STEPS}, B = {BATCH}, {FIRING:.0%} firing"
    rows = [row(f"synapses of a training step, {name}, auto", beside("dense", "auto", layers), "< 1.00")]
    rows += [
        row(f"- of which {i} x {o}", beside("dense", "auto", [step], 5), "")
        for (i, o), step in zip(sizes, layers, strict=True)
    ]
    return rows


def crossing(inner: int, out: int) -> str:
    """Interpolate the density at which both ways take equally long."""
    before = (0.0, 0.0)
    for density in DENSITIES:
        ratio = beside("dense", "events", [layer(inner, out, ROWS, density, first=True)], 5)[2]
        if ratio >= 1:
            share = (1 - before[1]) / (ratio - before[1])
            return f"{before[0] + share * (density - before[0]):.2f}"
        before = (density, ratio)
    return f"above {DENSITIES[-1]}"


def image() -> tuple[str, str, str, str, str]:
    """Time an image shown for all steps, as a copy for every step and as a view that is constant in time."""
    x = torch.rand(1, BATCH, NETWORK[0], generator=rng()).expand(STEPS, BATCH, NETWORK[0])
    synapse = build((NETWORK[0],), NETWORK[-1], NETWORK[1:2]).layers[0].synapse

    def step(given: Tensor) -> Step:
        error = torch.randn(STEPS, BATCH, NETWORK[1], generator=rng())
        return lambda: torch.autograd.grad(fold(synapse, given), list(synapse.parameters()), error)

    with using("dense"):
        found = paired(step(x.clone()), step(x), rounds=5)
    return row(f"{NETWORK[0]} x {NETWORK[1]} on an image, a copy for each step against a constant", found, "<= 0.20")


WORDS = """\
Float32 on one thread: the dense product against the method chosen by density. Calls alternate between the sides;
times are medians, ratios are medians over neighbouring calls. A step is forward, weight gradient and, except in the
first layer, input gradient; the errors are dense here, so the input gradient gains nothing. The second table gives
the density at which forward and weight gradient take equally long by events and by the product.
"""


def main() -> None:
    torch.set_num_threads(1)
    body = table(("what", "dense", "by choice", "ratio", "target"), [*network(), image()])
    where = table(("weight", "rows", "crosses at"), [(f"{i} x {o}", str(ROWS), crossing(i, o)) for i, o in SHAPES])
    put("Synapses that pay only for spikes", f"{WORDS}\n{body}\n\n{where}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    main()
