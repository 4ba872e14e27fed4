"""Fused time loops against loops in torch, other libraries, a hand-written kernel, and the memory that they move.

python benchmarks/kernels.py          # under three minutes; writes its section of README.md
python benchmarks/kernels.py 1        # with one round of each; only prints

Other libraries are timed where installed; pip install -c constraints.txt '.[peers]' leaves torch as it is.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch
from lif_by_hand import KEPT, TAU, WAYS, fused, plain
from readme import machine, put, table
from timing import paired, stopwatch
from torch import Tensor

from rules.spikes.surrogate import differentiating
from sandbox import build, scan, simulate
from sandbox.kernels import using
from sandbox.neurons import ALIF, LIF, AdEx, CubaLIF, HodgkinHuxley, Izhikevich, Neuron

SHAPES = ((100, 128, 256), (25, 256, 1024), (1000, 32, 128))  # steps, samples, cells
SIMULATED = (10_000, 1000)  # steps, cells
DT = 0.1  # [ms] of a simulation
MOVED = 6  # arrays: currents, spikes and membranes; errors, membranes and gradients
ROUNDS = 5
PEERS = {"SpikingJelly": "spikingjelly", "snnTorch": "snntorch", "Norse": "norse"}

Loop = Callable[[Tensor], Tensor]
Row = tuple[str, str, str, str, str]


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def step(loop: Loop, shape: tuple[int, ...], device: str = "cpu") -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a call of forward and backward, with currents that make about one cell in ten fire."""
    x = (3 * torch.rand(shape, generator=rng())).to(device).requires_grad_()
    error = torch.randn(shape, generator=rng()).to(device)

    def one() -> tuple[Tensor, Tensor]:
        with differentiating(detach_reset=False):
            spikes = loop(x)
        return spikes, torch.autograd.grad(spikes, x, error)[0]

    return one


def ours(neuron: Neuron, mode: str = "numba", dt: float = 1.0) -> Loop:
    def loop(x: Tensor) -> Tensor:
        with using(mode):
            return scan(neuron, x, dt=dt)[0]

    return loop


def row(what: str, found: tuple[float, float, float], target: str = "") -> Row:
    return what, f"{found[0] * 1e3:.1f} ms", f"{found[1] * 1e3:.1f} ms", f"{found[2]:.3f}", target


def spikingjelly(reset: str) -> Loop:
    from spikingjelly.activation_based import functional, neuron, surrogate

    v_reset = None if reset == "subtract" else 0.0
    cell = neuron.LIFNode(tau=TAU, v_reset=v_reset, surrogate_function=surrogate.ATan(), step_mode="m")

    def loop(x: Tensor) -> Tensor:
        functional.reset_net(cell)
        return cell(x)

    return loop


def snntorch(reset: str) -> Loop:
    import snntorch as snn

    cell = snn.Leaky(KEPT, reset_mechanism="subtract" if reset == "subtract" else "zero")

    def loop(x: Tensor) -> Tensor:
        mem, spikes = torch.zeros_like(x[0]), []
        for now in x.unbind(0):
            s, mem = cell(now * (1 - KEPT), mem)
            spikes.append(s)
        return torch.stack(spikes)

    return loop


def norse(reset: str) -> Loop:
    from norse.torch import LIFBoxCell, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value

    method = reset_subtract if reset == "subtract" else reset_value
    cell = LIFBoxCell(LIFBoxParameters(tau_mem_inv=torch.tensor(1 / TAU), reset_method=method), dt=1.0)

    def loop(x: Tensor) -> Tensor:
        state, spikes = None, []
        for now in x.unbind(0):
            s, state = cell(now, state)
            spikes.append(s)
        return torch.stack(spikes)

    return loop


def peers(reset: str) -> tuple[dict[str, Loop], list[str]]:
    """Return the loops of the installed libraries, and the names of the others."""
    found: dict[str, Loop] = {}
    missing = []
    for (name, package), make in zip(PEERS.items(), (spikingjelly, snntorch, norse), strict=True):
        try:
            found[f"{name} {version(package)}"] = make(reset)
        except (ImportError, PackageNotFoundError):
            missing.append(name)
    return found, missing


def fastest(loops: dict[str, Loop], shape: tuple[int, ...], device: str = "cpu") -> str:
    times = {}
    for name, loop in loops.items():
        call = step(loop, shape, device)
        call()
        times[name] = stopwatch(call)()
    return min(times, key=lambda name: times[name])


def bandwidth() -> float:
    """Measure the bytes per second that a copy reads and writes."""
    source, target = torch.ones(2**26), torch.empty(2**26)
    times = [stopwatch(lambda: target.copy_(source))() for _ in range(7)]
    return 2 * source.numel() * source.element_size() / statistics.median(times)


def same(shape: tuple[int, ...], reset: str) -> None:
    """Check that all three agree, except for cells at the threshold to the last digit of float32."""
    want, *others = (
        step(loop, shape)()
        for loop in (partial(plain, reset=reset), ours(LIF(reset=reset)), partial(fused, reset=reset))
    )
    for spikes, gradient in others:
        alike = (spikes == want[0]).flatten(1).all(0)
        assert alike.double().mean() > 0.99, "spikes differ"
        off = (gradient - want[1]).flatten(1)[:, alike].abs().max()
        assert off < 1e-3 * want[1].abs().max(), f"gradients differ by {off}"


def lif(shape: tuple[int, ...], reset: str, rate: float, rounds: int) -> list[Row]:
    same(shape, reset)
    what, kernel = f"LIF {list(shape)}, {reset}", step(ours(LIF(reset=reset)), shape)
    rows = [row(f"{what}: loop by hand", paired(step(partial(plain, reset=reset), shape), kernel, rounds))]
    found, missing = peers(reset)
    if found:
        name = fastest(found, shape)
        rows.append(row(f"{what}: {name}, fastest of {len(found)}", paired(step(found[name], shape), kernel, rounds)))
    if missing:
        rows.append((f"{what}: {', '.join(missing)}", "not installed", "", "", ""))
    by_hand = paired(step(partial(fused, reset=reset), shape), kernel, 2 * rounds)
    rows.append(row(f"{what}: numba by hand", by_hand, "<= 1.20"))
    memory = MOVED * 4 * torch.Size(shape).numel() / rate
    rows.append(row(f"{what}: {MOVED} arrays at {rate / 1e9:.1f} GB/s", (memory, by_hand[1], by_hand[1] / memory)))
    return rows


def cells(rounds: int) -> list[Row]:
    rows = []
    for neuron in (ALIF(), CubaLIF(), AdEx()):
        dt = DT if isinstance(neuron, AdEx) else 1.0
        scale = float(neuron.rheobase)

        def loop(x: Tensor, mode: str, neuron: Neuron = neuron, dt: float = dt, scale: float = scale) -> Tensor:
            return ours(neuron, mode, dt)(x * scale)

        sides = [step(partial(loop, mode=mode), SHAPES[0]) for mode in ("plain", "numba")]
        sides[1]()
        rows.append(row(f"{type(neuron).__name__} {list(SHAPES[0])}: loop", paired(*sides, rounds)))
    return rows


def recurrent(rounds: int) -> Row:
    """Time a recurrent layer, whose spikes are inputs of the next step; its input weight is part of both sides."""
    steps, samples, width = SHAPES[0]
    layer = build((width,), 2, (f"{width}r",), LIF(tau_mem=TAU)).layers[0]
    x = (torch.rand(SHAPES[0], generator=rng()) < 0.1).float()

    def one(mode: str) -> object:
        with using(mode):
            return torch.autograd.grad(layer(x).sum(), list(layer.parameters()))

    one("auto")
    found = paired(partial(one, "plain"), partial(one, "auto"), rounds)
    return row(f"recurrent layer of {width}, T = {steps}, B = {samples}: loop", found, "<= 0.50")


def simulated(neuron: Neuron, rounds: int) -> tuple[str, str, str]:
    """Time a simulation that records only spikes, in nanoseconds per neuron and step."""
    steps, count = SIMULATED
    x = (float(neuron.rheobase) * torch.linspace(0.5, 3.0, count, dtype=torch.float64)).expand(steps, count)

    def one(given: Tensor, mode: str) -> object:
        with using(mode), torch.no_grad():
            return simulate(neuron, given, DT, record=())

    one(x[:2], "numba")
    fast = statistics.median(stopwatch(lambda: one(x, "numba"))() for _ in range(rounds))
    slow = stopwatch(lambda: one(x[: steps // 10], "plain"))() * 10
    scale = 1e9 / (steps * count)
    return type(neuron).__name__, f"{slow * scale:.1f} ns", f"{fast * scale:.2f} ns"


WORDS = """\
Forward and backward in float32 on one thread. Calls alternate between the sides; times are medians, ratios are
medians over neighbouring calls. "By hand" is `lif_by_hand.py`; both its versions are checked against ours before
anything is timed. Other libraries compute nearly the same, with their own surrogates, and snnTorch resets a step
later. "Arrays" is the time to move the data that any implementation must move, at the speed of a copy: currents,
spikes and membranes, then errors, membranes and gradients. The second table is 1000 cells for 10 000 steps of 0.1
ms in float64; the loop is measured on a tenth of the steps.
"""


def main(rounds: int, publish: Callable[[str, str], None]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rate = bandwidth()
    rows = [line for shape in SHAPES for reset in WAYS for line in lif(shape, reset, rate, rounds)]
    rows += [*cells(rounds), recurrent(rounds)]
    body = table(("what", "theirs", "ours", "ratio", "target"), rows)
    times = [simulated(neuron, min(rounds, 3)) for neuron in (LIF(), Izhikevich(), AdEx(), HodgkinHuxley())]
    long = table(("a neuron's step", "loop", "kernel"), times)
    publish("Fused time loops", f"{WORDS}\n{body}\n\n{long}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(int(sys.argv[1]), lambda title, text: print(f"## {title}\n\n{text}"))
    else:
        main(ROUNDS, put)
