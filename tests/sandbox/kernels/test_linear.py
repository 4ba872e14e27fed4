"""All steps at once, for what is linear in its state: the loop to 1e-12, and only where the loop is linear."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
import torch

from sandbox import scan, simulate
from sandbox.kernels import linear, plans, using
from sandbox.kernels.launch import backends, ops
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons import IN_BRIAN2, LIF, LeakyIntegrator
from sandbox.neurons.base import decay
from sandbox.neurons.stepping import body_of

from .conftest import DOUBLE, agree, answer

TAU = torch.linspace(3.0, 30.0, 4, dtype=DOUBLE)


@dataclass(frozen=True)
class Euler(LeakyIntegrator):
    """A user-defined step, whose factor has to be derived; its output is not linear."""

    def integrate(self, current, state, dt):
        return state._replace(v=state.v + dt / self.tau_mem * (self.v_leak - state.v + self.r * current))

    def fire(self, state, dt):
        return torch.tanh(state.v), state


@dataclass(frozen=True)
class Bent(LeakyIntegrator):
    """Not linear, though it looks it."""

    how: str = "square"

    def integrate(self, current, state, dt):
        v = state.v
        return state._replace(
            v={
                "square": v * (0.1 * v),
                "gated": v * current,
                "above": torch.clamp(v, min=0.0),
                "stopped": 0.5 * v.detach(),
                "divided": current / (2 + v),
            }[self.how]
        )


@pytest.fixture
def alone(monkeypatch):
    """A machine without numba; how often all steps were taken at once."""
    made = []
    original = linear.at_once
    monkeypatch.setattr(linear, "at_once", lambda *given: (made.append(1), original(*given))[1])
    for module in (backends, linear):
        monkeypatch.setattr(module, "absent", lambda: "no numba today")
    return made


CELLS = {
    "exact": (LeakyIntegrator(tau_mem=10.0, v_leak=-70.0), ()),
    "euler": (Euler(tau_mem=10.0, r=3.0, v_leak=-7.0), ()),
    "learned": (LeakyIntegrator(tau_mem=(tau := torch.tensor(9.0, dtype=DOUBLE, requires_grad=True))), (tau,)),
    "learned each": (
        Euler(tau_mem=(each := TAU.clone().requires_grad_()), r=(gain := (TAU / 2).requires_grad_())),
        (each, gain),
    ),
}


@pytest.mark.parametrize("steps", [32, 33, 1100])
@pytest.mark.parametrize("name", CELLS)
def test_all_steps_at_once_are_the_loop(name, steps, alone, rng):
    """1e-12 of the largest, for sums in another order; gradients of currents, first state and parameters as well."""
    cell, learned = CELLS[name]
    x = 5 * torch.randn(steps, 3, 4, generator=rng, dtype=DOUBLE)
    plain, ours = (answer(mode, cell, x, learned=learned) for mode in ("plain", "auto"))
    assert alone
    pairs = [(ours.spikes, plain.spikes), *((ours.variables[k], v) for k, v in plain.variables.items())]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * float(b.abs().max()))
    agree(ours, plain, 1e-12 if not learned else 1e-11)  # a parameter's gradient sums over thousands of terms


def test_a_state_handed_back_continues(alone, rng):
    x = torch.randn(100, 4, generator=rng, dtype=DOUBLE)
    with using("auto"):
        whole, end = scan(LeakyIntegrator(), x)
        first, middle = scan(LeakyIntegrator(), x[:50])
        second, last = scan(LeakyIntegrator(), x[50:], middle)
    assert len(alone) == 3
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-13)
    torch.testing.assert_close(last.v, end.v, rtol=0, atol=1e-13)


def test_it_can_be_differentiated_twice(alone, rng):
    x = torch.randn(40, 1, generator=rng, dtype=DOUBLE, requires_grad=True)
    tau = torch.tensor(7.0, dtype=DOUBLE, requires_grad=True)

    def run(x, tau):
        with using("auto"):
            return scan(Euler(tau_mem=tau), x)[0].square().mean()

    assert torch.autograd.gradgradcheck(run, (x, tau))
    assert alone


@pytest.mark.slow
def test_it_compiles_as_a_whole(rng):
    b, start = torch.randn(70, 3, generator=rng, dtype=DOUBLE), torch.randn(3, generator=rng, dtype=DOUBLE)
    run = torch.compile(linear.recurrence, fullgraph=True, backend="aot_eager")
    for a in (torch.tensor(0.9, dtype=DOUBLE), torch.tensor([0.9, 0.5, -0.3], dtype=DOUBLE)):
        rows = [start]
        for each in b:
            rows.append(a * rows[-1] + each)
        torch.testing.assert_close(run(a, b, start), torch.stack(rows[1:]), rtol=1e-12, atol=1e-12)


def factor(cell):
    x = torch.zeros(1, 1, dtype=DOUBLE)
    state = cell.initial_state((1,), x)
    plan = plans.planned(cell, partial(body_of, (), False), ((), False), DOUBLE, state, 1.0)
    return linear.factor(plan, cell)


def test_the_factor_is_read_off_the_graph():
    assert factor(LeakyIntegrator(tau_mem=10.0)) == decay(1.0, 10.0)
    assert factor(Euler(tau_mem=10.0)) == pytest.approx(0.9, abs=1e-15)


@pytest.mark.parametrize(
    "cell",
    [
        *(Bent(how=how) for how in ("square", "gated", "above", "stopped", "divided")),
        *(cls() for cls in IN_BRIAN2.values() if cls.spiking),
        LIF(reset="none"),
    ],
    ids=lambda cell: getattr(cell, "how", type(cell).__name__),
)
def test_what_is_not_linear_is_not_taken_for_it(cell):
    with pytest.raises(Unsupported):
        factor(cell)


def test_it_is_taken_only_where_there_is_no_kernel_and_it_gains(alone, monkeypatch, rng):
    x = torch.rand(200, 300, generator=rng)
    with using("plain"):
        scan(LeakyIntegrator(), x)
    with using("auto"):
        scan(LeakyIntegrator(), x[:20].repeat(1, 10))  # few steps
        scan(LeakyIntegrator(), x.repeat(1, 20))  # many cells
        scan(Bent(), x)
        assert alone == []
        simulate(LeakyIntegrator(), x)
        assert alone == [1]
        for module in (backends, linear):
            monkeypatch.setattr(module, "absent", lambda: None)
        made = []
        monkeypatch.setattr(ops, "call", lambda *given: made.append(given[1]))
        scan(LeakyIntegrator(), x)
    assert (alone, made) == ([1], ["forward"])


def test_another_device_takes_all_steps_at_once():
    x = torch.zeros(64, 10**6, device="meta")
    assert linear.worth_it(x)
    assert not linear.worth_it(x[:8])
    assert linear.recurrence(torch.tensor(0.9, device="meta"), x, x[0]).shape == x.shape
