"""Steps that couple cells, read a shape, or draw without a key are found, named, and run in the plain loop."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from sandbox import scan, simulate
from sandbox.kernels import choice, using
from sandbox.neurons import LIF, EscapeLIF
from sandbox.neurons.dice import following, uniform
from tests.speed import within

CURRENTS = 3 * torch.rand(512, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # a kernel in auto
DICE = np.random.default_rng(0)
CALLS = [0]


@dataclass(frozen=True)
class Odd(LIF):
    """A cell that never fires, with a step of its own."""

    v_threshold: float = 1e9
    change: Any = None

    def integrate(self, current, state, dt):
        return state._replace(v=self.change(current, state.v))


def counting(c, v):
    CALLS[0] += 1
    return v + CALLS[0] * c


def by_size(c, v):
    return c * 2 if c.numel() > 10_000 else c


DRAWN = {
    "rand": (lambda c, v: torch.rand(c.shape, dtype=c.dtype) + 0 * v + c, r"draws random numbers by rand\(\) of torch"),
    "one number": (lambda c, v: torch.randn(()) * c, r"draws random numbers by randn\(\) of torch"),
    "in place": (lambda c, v: torch.zeros_like(c).uniform_() + c, r"draws random numbers by uniform_\(\) of torch"),
    "like": (lambda c, v: torch.rand_like(c) + c, r"draws random numbers by rand_like\(\) of torch"),
    "dropout": (lambda c, v: torch.nn.functional.dropout(c, 0.5), r"draws random numbers by dropout\(\) of torch"),
    "python": (lambda c, v: random.random() * c, r"draws random numbers by random\(\) of Python"),
    "python, sometimes": (lambda c, v: c if random.gauss(0, 1) < 99 else v, r"random numbers by random\(\) of Python"),
    "numpy": (lambda c, v: np.random.rand() * c, r"draws random numbers by numpy.random"),
    "a generator": (lambda c, v: DICE.normal() * c, r"has a generator of random numbers, DICE"),
}
SHAPED = {
    "arange": (lambda c, v: torch.arange(c.shape[-1], dtype=c.dtype) + 0 * c, "reads shape of its cells"),
    "linspace": (lambda c, v: torch.linspace(0, 1, c.size(-1), dtype=c.dtype) + 0 * c, r"reads size\(\) of its cells"),
    "eye": (lambda c, v: torch.eye(c.shape[-1], dtype=c.dtype)[0] + 0 * c, "reads shape of its cells"),
    "shape": (lambda c, v: c * c.shape[-1], "reads shape of its cells"),
    "numel": (lambda c, v: c * c.numel(), r"reads numel\(\) of its cells"),
    "a function": (lambda c, v: c * torch.numel(v), r"reads numel\(\) of its cells"),
    "axes": (lambda c, v: c * c.ndim, "reads ndim of its cells"),
    "a switch": (by_size, r"reads numel\(\) of its cells, .*torch.zeros_like\(current\)"),
    "made": (lambda c, v: c * torch.zeros_like(c).shape[0], "reads shape of its cells"),
}
COUPLED = {
    "first": (lambda c, v: c + v[..., :1], "it calls aten.alias for one cell, and aten.slice for several"),
    "cat": (lambda c, v: c + torch.cat([c, c]).sum(0), "aten.sum does not act on each cell by itself"),
    "roll": (lambda c, v: c + v.roll(1, -1), "aten.roll"),
    "numpy": (
        lambda c, v: c + torch.from_numpy(np.cumsum(v.detach().numpy(), -1)),
        r"takes numbers out of a tensor by numpy\(\); use operations of torch",
    ),
    "an array that says the same of every cell that is tried": (
        lambda c, v: c - 2 * torch.as_tensor(np.asarray(v.detach()) > 0.6).to(c.dtype),
        r"takes numbers out of a tensor by numpy\(\)",
    ),
    "another shape": (lambda c, v: c + torch.ones(64), "fails on cells of another shape|does not act on|returns"),
    "a place": (lambda c, v: c + v[5], "the step fails on a single cell: index 5 is out of bounds"),
    "a list": (lambda c, v: c + max(v.detach().flatten().tolist()), r"takes numbers out of a tensor by tolist\(\)"),
}
CHANGING = {
    "a clock": (lambda c, v: c * time.time(), r"reads a clock, time\(\)"),
    "a count": (counting, "the step is another one at each call|the step changes what it reads"),
}
STEPS = DRAWN | SHAPED | COUPLED | CHANGING


def run(change, mode):
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    CALLS[0] = 0
    with using(mode):
        return simulate(Odd(change=change), CURRENTS).v


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_not_of_each_cell_by_itself_is_named_and_runs_plain(name, caplog):
    change, why = STEPS[name]
    choice.explain.cache_clear()
    with using("numba"), pytest.raises(RuntimeError, match=f"Odd cannot run in a kernel: .*({why})"):
        scan(Odd(change=change), CURRENTS)
    with caplog.at_level(logging.WARNING):
        found = run(change, "auto")
    if name not in ("a generator", "a clock", "a count"):  # which nobody can set back to the start
        assert torch.equal(found, run(change, "plain"))
    assert found.shape == CURRENTS.shape
    assert caplog.messages[0].startswith("Odd runs in the plain loop: ")


def test_a_value_is_looked_at_once_however_many_paths_lead_to_it():
    """The logistic map, a hundred times: each value is read twice, so that 2^100 paths lead to the first."""

    class Logistic(LIF):
        def integrate(self, current, state, dt):
            x = 0.5 + 0.1 * torch.tanh(current)
            for _ in range(100):
                x = 2.5 * x * (1 - x)
            return state._replace(v=x)

    began = time.process_time()
    with using("numba"):
        found = simulate(Logistic(), CURRENTS).v
    assert within(time.process_time() - began, 30.0)  # a second and a half, most to compile
    with using("plain"):
        assert torch.allclose(found, simulate(Logistic(), CURRENTS).v, rtol=0, atol=1e-14)  # 0.6 is stable


def test_no_generator_moves_while_a_step_is_looked_at():
    """Neither the global ones nor one of the step's own."""
    states = [torch.get_rng_state(), random.getstate(), str(np.random.get_state()), str(DICE.bit_generator.state)]
    for name in DRAWN:
        with using("numba"), pytest.raises(RuntimeError):
            scan(Odd(change=DRAWN[name][0]), CURRENTS)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert [random.getstate(), str(np.random.get_state()), str(DICE.bit_generator.state)] == states[1:]


class NoisyState(NamedTuple):
    v: Tensor
    wait: Tensor | None
    key: Tensor


@dataclass(frozen=True)
class Noisy(LIF):
    """Draws as it should, makes constants as it should, and has a weight for each cell."""

    gain: Any = 0.5
    draws: dict[str, str] = field(default_factory=lambda: {"u": "uniform"})

    def initial_state(self, shape, like):
        state = super().initial_state(shape, like)
        return NoisyState(state.v, state.wait, torch.tensor(7))

    def integrate(self, current, state, dt):
        noise = uniform(state.key, current) * torch.full_like(current, 0.3) + torch.zeros_like(current)
        return state._replace(v=state.v + self.gain * (current - state.v) + noise)

    def fire(self, state, dt):
        spikes, after = super().fire(state, dt)
        return spikes, after._replace(key=following(state.key))


@pytest.mark.parametrize("gain", [0.5, torch.linspace(0.1, 0.9, 64, dtype=torch.float64)], ids=["one", "each"])
def test_a_step_that_draws_by_its_key_and_makes_constants_runs_in_a_kernel(gain):
    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            found.append(scan(Noisy(gain=gain), CURRENTS))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[1][1].v, found[0][1].v, rtol=1e-12, atol=1e-12)  # roundings of one step each


def test_a_spike_that_random_numbers_alone_decide_is_part_of_the_step():
    """The numbers of a kernel are those of the plain loop."""

    @dataclass(frozen=True)
    class Dice(EscapeLIF):
        def fire(self, state, dt):
            spikes = self.surrogate.spike(uniform(state.key, state.v).to(state.v.dtype) - 0.5)
            return spikes, state._replace(v=state.v * (1 - spikes), key=following(state.key))

    found = []
    for mode in ("plain", "numba"):
        with using(mode):
            found.append(scan(Dice(), CURRENTS))
    assert torch.equal(found[0][0], found[1][0])
    assert 0.4 < float(found[0][0].mean()) < 0.6
    torch.testing.assert_close(found[1][1].v, found[0][1].v, rtol=1e-12, atol=1e-12)
