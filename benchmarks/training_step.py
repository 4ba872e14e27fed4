"""A whole training step against its matrix products alone, and against SpikingJelly's step of the same network.

python benchmarks/training_step.py            # a minute; writes its section of README.md
python benchmarks/training_step.py 1          # with one round of each; only prints
python benchmarks/training_step.py memory kernels    # the memory of one step [MiB], in this process
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

import torch
from memory import growth, of_process
from readme import machine, put, table
from timing import paired
from torch import Tensor, nn

from sandbox import calibrate, kernels, synapses
from sandbox.networks.build import build
from sandbox.networks.network import Network
from sandbox.neurons import LIF, LeakyIntegrator

NETWORK = (700, 256, 256, 20)
STEPS, BATCH, FIRING = 100, 128, 0.05
MNIST, MNIST_STEPS = (784, 256, 10), 25
BELOW = 0.2  # the density of `synapses.using(0.2)`
ROUNDS = 9
KEPT = math.exp(-1 / 20)  # share of the membrane that remains after a step

Step = Callable[[], object]
Row = tuple[str, str, str, str, str]


def data(steps: int = STEPS, sizes: Sequence[int] = NETWORK) -> tuple[Tensor, Tensor]:
    """Draw spikes `[T, B, in]` and labels `[B]` in place, so that no peak of memory precedes the step."""
    rng = torch.Generator().manual_seed(0)
    x = torch.empty(steps, BATCH, sizes[0]).bernoulli_(FIRING, generator=rng)
    return x, torch.randint(sizes[-1], (BATCH,), generator=rng)


def ours(sizes: Sequence[int] = NETWORK) -> Network:
    return build(tuple(sizes[:1]), sizes[-1], tuple(sizes[1:-1]), LIF(), LeakyIntegrator())


class Theirs(nn.Module):
    """Build the same network in SpikingJelly, with the same weights and decay."""

    def __init__(self, network: Network) -> None:
        from spikingjelly.activation_based import functional, layer, neuron, surrogate

        super().__init__()
        tau, parts = 1 / (1 - KEPT), []
        for inner, out in zip(NETWORK, NETWORK[1:], strict=False):
            last = len(parts) == 4
            spiking = neuron.LIFNode(tau, surrogate_function=surrogate.ATan(), detach_reset=True)
            parts += [layer.Linear(inner, out), neuron.NonSpikingLIFNode(tau, "mean-mem") if last else spiking]
        self.body = nn.Sequential(*parts)
        functional.set_step_mode(self, "m")
        self.forget = partial(functional.reset_net, self)
        with torch.no_grad():
            for p, q in zip(self.parameters(), network.parameters(), strict=True):
                p.copy_(q)

    def forward(self, x: Tensor) -> Tensor:
        self.forget()
        return self.body(x)


def mean(model: nn.Module, x: Tensor) -> Tensor:
    """Return the mean membranes of the read-out `[B, classes]`."""
    return model(x).output.mean(0) if isinstance(model, Network) else model(x)


def training(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], float]:
    """Return a step: forward, cross-entropy of the mean membrane, backward, Adam."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)  # so small that firing rates stay constant

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(mean(model, x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def within(loop: str, weighing: float | str, step: Callable[[], float]) -> Callable[[], float]:
    """Return the step with these loops and these synapses."""

    def one() -> float:
        with kernels.using(loop), synapses.using(weighing):
            return step()

    return one


def products(network: Network, x: Tensor) -> Step:
    """Return the dense products of the step alone: forward, weight and, but for the first layer, input gradient."""
    weights = [p.detach() for p in network.parameters() if p.ndim == 2]
    flat = x.flatten(0, 1)
    inputs = [flat, *(flat[:, : w.shape[1]].contiguous() for w in weights[1:])]
    errors = [torch.rand(len(flat), len(w), generator=torch.Generator().manual_seed(1)) for w in weights]

    def all_of_them() -> None:
        for number, (given, weight, error) in enumerate(zip(inputs, weights, errors, strict=True)):
            given @ weight.t()
            error.t() @ given
            if number:
                error @ weight

    return all_of_them


def row(what: str, found: tuple[float, float, float], target: str) -> Row:
    return what, f"{found[0] * 1e3:.1f} ms", f"{found[1] * 1e3:.1f} ms", f"{found[2]:.3f}", target


def times(network: Network, rounds: int) -> list[Row]:
    x, y = data()
    step = training(network, x, y)
    alone, dense = products(network, x), within("numba", "dense", step)
    ways = {word: within("numba", word, step) for word in ("auto", "events")}
    # These calls also compile everything before anything is timed.
    losses = [call() for call in (within("plain", "dense", step), dense, *ways.values())]
    rows = [row("its products alone: dense", paired(alone, dense, rounds), "<= 1.25")]
    rows += [row(f"its products alone: {word}", paired(alone, way, rounds), "< 1.00") for word, way in ways.items()]
    rows += [row("plain loop: dense", paired(within("plain", "dense", step), dense, rounds), "")]
    if find_spec("spikingjelly"):
        theirs = training(Theirs(network), x, y)
        losses += [theirs()]
        rows += [row("SpikingJelly: dense", paired(theirs, dense, rounds), f"<= {1 / 1.4:.3f}")]
        rows += [row("SpikingJelly: auto", paired(theirs, ways["auto"], rounds), f"<= {1 / 1.4:.3f}")]
    else:
        rows += [("SpikingJelly", "not installed", "", "", "")]
    assert max(losses) - min(losses) < 0.02 * min(losses), f"the sides do not compute the same: {losses}"
    return rows


def mnist(rounds: int) -> Row:
    """Compare a step by density with a dense one, at the size of MNIST."""
    network = ours(MNIST)
    x, y = data(MNIST_STEPS, MNIST)
    calibrate(network, x, rate=FIRING)
    step = training(network, x, y)
    dense, sparse = (within("numba", way, step) for way in ("dense", BELOW))
    losses = dense(), sparse()
    assert abs(losses[0] - losses[1]) < 1e-3 * losses[0], f"the sides do not compute the same: {losses}"
    what = f"dense, {'-'.join(map(str, MNIST))}, T = {MNIST_STEPS}: density {BELOW}"
    return row(what, paired(dense, sparse, 3 * rounds), "<= 0.30")


def measure_memory(side: str) -> float:
    """Measure the growth of the resident peak [MiB] over a step, after a short step to load and compile everything."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    network = ours()
    model = Theirs(network) if side == "spikingjelly" else network
    loop = "plain" if side == "plain" else "numba"
    within(loop, "dense", training(model, *data(steps=4)))()
    return growth(within(loop, "dense", training(model, *data())))


def memory() -> list[Row]:
    kernel, rows = of_process(__file__, "memory", "kernels"), []
    for side, name, target in (("plain", "plain loop", "<= 1.20"), ("spikingjelly", "SpikingJelly", "<= 0.50")):
        if side == "plain" or find_spec(side):
            peak = of_process(__file__, "memory", side)
            rows += [(f"peak memory: {name}", f"{peak:.0f} MiB", f"{kernel:.0f} MiB", f"{kernel / peak:.3f}", target)]
    return rows


WORDS = """\
Forward, loss, backward and Adam of a network {shape} of LIF neurons. Inputs spike at {firing:.0%}, hidden layers at
{rates}; T = {steps}, B = {batch}, float32, one thread. Calls alternate between the sides; times are medians, ratios
are medians over neighbouring calls. "Products alone" are the dense products of the step: forward, weight gradient
and, except in the first layer, input gradient. SpikingJelly's network has the same weights, decay and detached
reset, and its losses are compared with ours afterwards. By a density, products go by events where a smaller share of
their input is active, and else are dense, without timings (`synapses: 0.2` in a configuration). Memory is the growth
of the resident peak over one step with dense synapses, in a fresh process whose allocator returns freed memory.

Why targets are missed: at 5 % firing the input gradient of a dense error, Adam and the neurons are what they were.
Bits that a neuron hands to the next synapse would save little: most of the search for spikes is in the data, which no
neuron makes.
"""


def main(rounds: int, publish: Callable[[str, str], None]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    network = ours()
    rates = calibrate(network, data()[0], rate=FIRING)
    words = WORDS.format(
        shape="-".join(map(str, NETWORK)),
        firing=FIRING,
        steps=STEPS,
        batch=BATCH,
        rates=" and ".join(f"{rate:.1%}" for rate in rates.values()),
    )
    body = table(("against", "theirs", "ours", "ratio", "target"), [*times(network, rounds), mnist(rounds), *memory()])
    publish("A whole training step", f"{words}\n{body}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(measure_memory(sys.argv[2]))
    elif sys.argv[1:]:
        main(int(sys.argv[1]), lambda title, text: print(f"## {title}\n\n{text}"))
    else:
        main(ROUNDS, put)
