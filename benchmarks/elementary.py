"""What the kernels' own functions are worth: beside numba's words for the same things, in the same kernels.

python benchmarks/elementary.py          # under a minute; writes its section of README.md
python benchmarks/elementary.py 1        # with one round of each; only prints
"""

from __future__ import annotations

import math
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import readme
import torch
from numba import carray, njit
from timing import in_turn, stopwatch
from torch import Tensor

from sandbox import scan, simulate
from sandbox.kernels import using
from sandbox.kernels.device.elementary import INLINED, functions
from sandbox.kernels.device.machine import WIDTH
from sandbox.kernels.launch import compiled, store
from sandbox.kernels.launch.registered import STRUCTURES, WRITERS
from sandbox.kernels.trace.aten import fused
from sandbox.neurons import LIF, AdEx, HodgkinHuxley, Neuron

SHAPE = (100, 128, 256)  # steps, samples, cells
FEW = 16  # samples of the comparison with the plain loop
ROUNDS = 5
FAR = 2**40  # numbers behind an address, as far as numba is told
SIDES = {  # which words are numba's
    "ours": (),
    "numba's `exp`": ("exponentials",),
    "numba's arrays": ("arrays",),
    "buffers not told apart": ("buffers",),
    "two roundings": ("roundings",),
    "all numba's": ("exponentials", "arrays", "roundings"),
}
NEAR = ("ours", "numba's `exp`", "two roundings")  # those that compute other values

Made = Callable[..., tuple[Any, list[str]]]  # how a kernel is compiled
Both = tuple[Tensor, Tensor]


class Case(NamedTuple):
    """A neuron, its time step [ms], and its largest current as a multiple of the rheobase."""

    neuron: Neuron
    dt: float
    drive: float


def cases() -> dict[str, Case]:
    return {
        "LIF, learned tau": Case(LIF(tau_mem=torch.tensor(20.0, requires_grad=True)), 1.0, 3.0),
        "AdEx": Case(AdEx(), 0.2, 10.0),
        "HodgkinHuxley": Case(HodgkinHuxley(), 0.1, 3.0),
    }


@cache
def of_numba(real: Any) -> dict[str, dict[str, Any]]:
    """The words of a kernel as one would write them without functions of one's own, in groups."""
    own = functions(real, fused())
    pointer, load, store_, half, one = own["pointer"], own["load"], own["store"], real(0.5), real(1)

    def call(name: str) -> Any:
        function = getattr(math, name)
        return lambda x: function(x)

    def lerp(a, b, weight):
        return a + weight * (b - a) if abs(weight) < half else b - (b - a) * (one - weight)

    def copied(to, i, source, k, n):
        for j in range(n):
            to[i + j] = source[k + j]

    def cleared(memory, n):
        memory[:n] = 0

    def stored(memory, i, value):
        memory[i] = value

    def put(memory, i, value, buffer):
        memory[i] = value

    def put_unscoped(memory, i, value, buffer):
        store_(memory, i, value)

    groups = {
        "exponentials": {
            **{name: call(name) for name in ("exp", "expm1", "tanh", "sinh", "cosh")},
            "sigmoid": lambda x: one / (one + math.exp(-x)),
        },
        "roundings": {"fma": lambda a, b, c: a * b + c, "lerp": lerp},
        "arrays": {
            "stack": lambda like: np.empty(WIDTH, real),
            "pointer": lambda address, like: carray(pointer(address, like), (FAR,)),
            "load": lambda memory, i: memory[i],
            "store": stored,
            "fetch": lambda memory, i, buffer: memory[i],
            "put": put,
            "copy": copied,
            "clear": cleared,
            "total": lambda memory, n: memory[:n].sum(),
        },
        "buffers": {"fetch": lambda memory, i, buffer: load(memory, i), "put": put_unscoped},
    }
    return {group: {name: njit(**INLINED)(word) for name, word in words.items()} for group, words in groups.items()}


def made_with(groups: Sequence[str]) -> Made:
    """Compiles kernels whose source is ours to the letter, with the words of these groups bound to numba's."""

    @cache
    def kernel(key: str, direction: str, variant: Any, dtype: torch.dtype) -> tuple[Any, list[str]]:
        real = compiled.REALS[dtype]
        words = functions(real, fused())
        for group in groups:
            words = words | of_numba(real)[group]
        source, names = WRITERS[direction](STRUCTURES[key], variant)
        module = store._executed(source, None, words)
        return njit(store.SIGNATURE, nogil=True, error_model="numpy")(module.kernel), names

    return kernel


@contextmanager
def kernels(made: Made | None) -> Iterator[None]:
    """Run sequences in kernels that are made this way; in the plain loop for None."""
    before, compiled.kernel = compiled.kernel, made or compiled.kernel
    try:
        with using("numba" if made else "plain"):
            yield
    finally:
        compiled.kernel = before


def drawn(case: Case, samples: int, dtype: torch.dtype) -> Both:
    """Currents that make cells fire, and an error for each spike."""
    steps, _, cells = SHAPE
    rng = torch.Generator().manual_seed(0)
    scale = case.drive * float(torch.as_tensor(case.neuron.rheobase).detach())
    x = (scale * torch.rand(steps, samples, cells, generator=rng, dtype=dtype)).requires_grad_()
    return x, torch.randn(x.shape, generator=rng, dtype=dtype)


def calls(case: Case, made: Made) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Forward without a gradient; and forward and backward."""
    x, error = drawn(case, SHAPE[1], torch.float32)

    def forward() -> Tensor:
        with torch.no_grad(), kernels(made):
            return scan(case.neuron, x, dt=case.dt)[0]

    def both() -> Tensor:
        with kernels(made):
            return torch.autograd.grad(scan(case.neuron, x, dt=case.dt)[0], x, error)[0]

    return forward, both


def times(name: str, case: Case, made: dict[str, Made], rounds: int) -> list[list[str]]:
    """Ours in milliseconds, and how many times as long the others take."""
    rows = []
    pairs = [calls(case, each) for each in made.values()]
    for what, one in zip(("forward", "forward and backward"), zip(*pairs, strict=True), strict=True):
        for call in one:
            call()
        found = in_turn([stopwatch(call) for call in one], rounds)
        ours = statistics.median(row[0] for row in found)
        ratios = (statistics.median(row[i] / row[0] for row in found) for i in range(1, len(one)))
        rows.append([f"{name}, {what}", f"{ours * 1e3:.1f} ms", *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def computed(case: Case, dtype: torch.dtype, made: Made | None) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes, membranes, and the gradient at the currents."""
    x, error = drawn(case, FEW, dtype)
    with kernels(made):
        run = simulate(case.neuron, x, case.dt, ("v",))
        return run.spikes, run.v, torch.autograd.grad(run.spikes, x, error)[0]


def distances(name: str, case: Case, made: dict[str, Made]) -> list[list[str]]:
    """How far from the plain loop: spikes, membranes to the last bit, gradients of cells with the same spikes."""
    rows = []
    for dtype in (torch.float32, torch.float64):
        spikes, v, gradient = computed(case, dtype, None)
        row = [f"{name}, {str(dtype)[6:]}, {int(spikes.sum())} spikes"]
        for side in NEAR:
            found, membranes, at = computed(case, dtype, made[side])
            alike = (found == spikes).all(0)
            error = (at - gradient)[:, alike].abs().max() / gradient.abs().max()
            unequal = (membranes != v).double().mean()
            row.append(f"{int((found != spikes).sum())}, {unequal:.2%}, {error:.0e}")
        rows.append(row)
    return rows


WORDS = """\
A kernel's source calls its functions by name. The same source is compiled with our functions and with numba's words for
them: `math.exp` and its like, arrays of numba instead of pointers, buffers that LLVM is not told lie apart, `a * b + c`
rounded twice. Currents {shape}, float32, one thread; medians of calls made in turn, and of the ratios to ours.

The second table is for {few} samples and compares with the plain loop: spikes that are not the same, membranes that are
not equal to the last bit, and the largest error of a gradient as a part of the largest gradient. Memory changes none.
"""


def main(rounds: int, publish: Callable[[str, str], None]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    made = {name: made_with(groups) for name, groups in SIDES.items()}
    fast = [row for name, case in cases().items() for row in times(name, case, made, rounds)]
    near = [row for name, case in cases().items() for row in distances(name, case, made)]
    body = f"{readme.table(['times', *made], fast)}\n\n{readme.table(['differences', *NEAR], near)}"
    words = WORDS.format(shape=list(SHAPE), few=FEW)
    publish("Functions of the kernels", f"{words}\n{body}\n\n{readme.machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(int(sys.argv[1]), lambda title, text: print(f"## {title}\n\n{text}"))
    else:
        main(ROUNDS, readme.put)
