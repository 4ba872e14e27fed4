"""Random recurrent populations and circuits: kernels against the plain loop, with second and several gradients.

`python -m tests.sandbox.kernels.fuzz_networks KIND SEED NUMBER` repeats one case; KIND is "recurrent" or "circuit".
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn

import sandbox.synapses as synapses
from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import Circuit, Connection, Sparse, simulate_circuit
from sandbox.kernels import using
from sandbox.networks.population import Population
from sandbox.neurons import ALIF, LIF, AdEx, CubaLIF, EscapeLIF, Izhikevich
from sandbox.neurons.cell import variables
from sandbox.synapses import EventLinear

from .fuzz import LAYOUTS, NOISE, ROUNDING, TIE

NEURONS = [LIF(t_refractory=1.0), ALIF(reset="subtract"), EscapeLIF(), AdEx(), CubaLIF(), Izhikevich()]
HALF = (torch.float16, torch.bfloat16)
REFUSED = "cannot run in a kernel"


class Case:
    """What both kinds share: neuron, shape, dtype, layout, and the ways to differentiate."""

    def __init__(self, kind: str, seed: int, number: int) -> None:
        self.name = f"{kind} {seed} {number}"
        rng = self.rng = random.Random(self.name)
        self.kind, self.neuron, self.dt = kind, NEURONS[number % len(NEURONS)], 0.25
        self.cells, self.steps = rng.choice([1, 3, 6]), rng.choice([0, 1, 2, 9, 20, 20, 20, 20])
        self.batch = rng.choice([None, None, 0, 1, 3, 3, 3, 3])
        self.dtype = rng.choice([torch.float64] * 4 + [torch.float32, rng.choice(HALF)])
        self.layout = rng.choice(sorted(LAYOUTS))
        self.twice, self.several, self.learns = rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.8
        self.how = {"detach_reset": rng.random() < 0.5, "surrogate": Surrogate(rng.choice(["atan", "triangle"]))}
        self.way = rng.choice(["dense", "events", 0.3])
        self.seed = rng.getrandbits(60)
        self.draw = self._recurrent() if kind == "recurrent" else self._circuit()

    def tensor(self, *shape: int) -> Tensor:
        """Return standard normal numbers."""
        return torch.randn(*shape, generator=self.generator, dtype=torch.float64).to(self.dtype)

    def _recurrent(self) -> Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]:
        bias, kind = self.rng.random() < 0.5, self.rng.choice([nn.Linear, EventLinear])

        def run(x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            synapse = kind(self.cells, self.cells, bias=bias, dtype=self.dtype)
            with torch.no_grad():
                for p in synapse.parameters():
                    p.copy_(float(self.neuron.rheobase) * self.tensor(*p.shape))
                    p.requires_grad_(self.learns)
            output, (state, _), _ = Population(self.neuron, self.dt, synapse)(x)
            return [output, *(getattr(state, n) for n in variables(state))], [*synapse.parameters()]

        return run

    def _circuit(self) -> Callable[[Tensor], tuple[list[Tensor], list[Tensor]]]:
        wires = [self._wire() for _ in range(self.rng.choice([0, 1, 2, 3]))]
        record = ("spikes", *variables(self.neuron.initial_state((1,), torch.zeros(1))))

        def run(x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            made = [wire() for wire in wires]
            leaves = [leaf for _, leaf in made if leaf.requires_grad]
            groups = {"first": slice(0, max(1, self.cells // 2))}
            circuit = Circuit(self.neuron, self.cells, [connection for connection, _ in made], groups)
            found = simulate_circuit(circuit, x, self.dt, record)
            return [getattr(found, name) for name in record], leaves

        return run

    def _wire(self) -> Callable[[], tuple[Connection, Tensor]]:
        rng, storage = self.rng, self.rng.choice(["dense", "mask", "csr", "layer"])
        kind, source = rng.choice(["current", "pulse", "conductance", "jump"]), rng.choice([None, "first"])
        late, several, learned = rng.randrange(0, 4), rng.random() < 0.4, rng.random() < 0.7
        small = float(self.neuron.swing) if kind == "jump" else 0.01 if kind == "conductance" else 1.0
        size = small if kind in ("jump", "conductance") else float(self.neuron.rheobase)
        how: dict[str, Any] = {"kind": "current", "tau": 5.0} if kind == "current" else {}
        how = {"kind": "conductance", "tau": 2.0, "reversal": 0.0} if kind == "conductance" else how
        how = {"kind": "jump"} if kind == "jump" else how

        def wire() -> tuple[Connection, Tensor]:
            pre = max(1, self.cells // 2) if source else self.cells
            weights = 0.5 * size * self.tensor(self.cells, pre)
            there = self.tensor(self.cells, pre) > 0
            given: Any = weights
            if storage == "csr":
                given = (weights * there).to_sparse_csr()
            elif storage == "layer":
                edges = there.nonzero(as_tuple=True)
                given = Sparse.from_edges(edges[1], edges[0], weights[edges], (self.cells, pre))
            leaf = (given.weight if storage == "layer" else given).requires_grad_(learned and self.learns)
            shape = (len(leaf),) if storage == "layer" else (self.cells, pre)
            shape = (given.values().numel(),) if storage == "csr" else shape
            spread = (self.tensor(*shape).abs() * 2).round().clamp(max=late) * self.dt
            delay = spread if several else self.dt * min(late, self.steps)
            if several and self.steps < late:
                delay = torch.zeros(shape)
            mask = there if storage == "mask" else None
            return Connection(given, delay=delay, source=source, mask=mask, **how), leaf

        return wire

    def answer(self, mode: str, noise: float = 0.0) -> list[Tensor] | Exception:
        """Return values and gradients, or the error."""
        self.generator = torch.Generator().manual_seed(self.seed)
        shape = (self.cells,) if self.batch is None else (self.batch, self.cells)
        drive = self.tensor(self.steps, *shape).double()
        x = (float(self.neuron.rheobase) * (3 + 2 * drive) * (1 + noise)).to(self.dtype)
        x = LAYOUTS[self.layout](x).detach().requires_grad_()
        with ExitStack() as stack:
            stack.enter_context(using(mode))
            stack.enter_context(synapses.using(self.way))
            rng = torch.Generator().manual_seed(7)
            stack.enter_context(differentiating(**self.how, generator=rng))  # type: ignore[arg-type]
            try:
                return self._differentiated(x)
            except (RuntimeError, ValueError, IndexError) as error:
                return error

    def _differentiated(self, x: Tensor) -> list[Tensor]:
        shown, leaves = self.draw(x)
        wanted, result = [x, *leaves], [each.detach() for each in shown]
        free = [each for each in shown if each.requires_grad]
        loss = sum((torch.tanh(each / 30) * self.tensor(*each.shape)).sum() for each in free)
        if not isinstance(loss, Tensor):
            return result
        slopes = torch.autograd.grad(loss, wanted, create_graph=self.twice, retain_graph=True, allow_unused=True)
        result += filled(slopes, wanted)
        again = [slope for slope in slopes if slope is not None and slope.requires_grad]
        if self.twice and again:
            total = sum(values_of(slope).square().sum() for slope in again)
            twice = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)  # type: ignore[arg-type]
            result += filled(twice, wanted)
        strided = [leaf for leaf in wanted if leaf.layout == torch.strided]
        if self.several and x.numel():
            errors = self.tensor(2, *free[0].shape)
            result += filled(
                torch.autograd.grad(free[0], strided, errors, is_grads_batched=True, allow_unused=True), strided
            )
        return result

    def mismatch(self) -> str | None:
        """Return in what a kernel differs from the plain loop; "refused" if the plain loop runs in `auto`."""
        plain, ours = self.answer("plain"), self.answer("numba")
        refused = isinstance(ours, Exception) and REFUSED in str(ours)
        if refused:
            with mock.patch("sandbox.kernels.sequence.TINY", 0):
                ours = self.answer("auto")
        if isinstance(plain, Exception) or isinstance(ours, Exception):
            same = (type(plain), str(plain)) == (type(ours), str(ours))
            return ("refused" if refused else None) if same else f"plain: {plain!r}; kernel: {ours!r}"
        rtol = ROUNDING.get(self.dtype, 1e-2)
        found = difference(ours, plain, rtol)
        if found is None:
            return "refused" if refused else None
        for noise in (NOISE.get(self.dtype, 1e-3), -NOISE.get(self.dtype, 1e-3)):
            moved = self.answer("plain", noise)
            if isinstance(moved, Exception) or difference(moved, plain, rtol / 10) is not None:
                return TIE
        return found


def values_of(x: Tensor) -> Tensor:
    """Return the values of a tensor, of a sparse one those of its pattern."""
    return x.values() if x.layout == torch.sparse_csr else x


def filled(found: Any, like: list[Tensor]) -> list[Tensor]:
    """Return gradients, or a zero for None."""
    return [torch.zeros(()) if g is None else values_of(g.detach()) for g, _ in zip(found, like, strict=True)]


def difference(ours: list[Tensor], plain: list[Tensor], rtol: float) -> str | None:
    """Return in what two answers differ; None if they agree to `rtol` of the largest value."""
    if len(ours) != len(plain):
        return "what requires a gradient"
    for number, (a, b) in enumerate(zip(ours, plain, strict=True)):
        size = float(b[b.isfinite()].abs().max()) if b.isfinite().any() else 0.0
        one, two = torch.broadcast_tensors(a.to(b.dtype), b)
        if not torch.allclose(one, two, rtol=rtol, atol=rtol * size, equal_nan=True):
            return f"result {number}"
    return None


class Count(NamedTuple):
    """How many cases agreed in kernels, were refused by them, and magnify a rounding as much."""

    agreed: int
    refused: int
    ties: int


def compared(kind: str, cases: int, seed: int) -> Count:
    """Run so many cases; raise AssertionError for one that does not agree, with the line that repeats it."""
    found = []
    for number in range(cases):
        case = Case(kind, seed, number)
        found.append(case.mismatch())
        line = f"python -m tests.sandbox.kernels.fuzz_networks {case.name}"
        assert found[-1] in (None, "refused", TIE), f"{found[-1]} differs\n{line}"
    return Count(found.count(None), found.count("refused"), found.count(TIE))


if __name__ == "__main__":
    print(Case(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).mismatch() or "agrees")
