"""Numbers at the corners of an operation: ties, zeros, infinities, and constants in the precision of the plain loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from sandbox import scan, simulate
from sandbox.kernels import using
from sandbox.neurons import LIF

from .conftest import DOUBLE

CURRENTS = torch.tensor([[-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0], [1.0, 0.0, 2.0, -0.5, 0.0, 3.0, -1.0, 0.5]])


ODD = {
    "a mask times infinity": lambda c, v: (c > 0).to(c) * (1 / (c - c + 0.0) * 0.0 + torch.exp(c * 1e4)),
    "infinity times a mask": lambda c, v: torch.exp(c.abs() * 1e4) * (c > 0).to(c.dtype),
    "maximum at a tie": lambda c, v: torch.maximum(c, 0 * v) + 0.1 * v,
    "minimum at a tie": lambda c, v: torch.minimum(0.5 + 0 * c, c) + 0.1 * v,
    "clamp at a bound": lambda c, v: c.clamp(0.0, 1.0) + 0.1 * v,
    "clamp by tensors": lambda c, v: torch.clamp(c, v, v + 1) + 0.1 * v,
    "a positive part": lambda c, v: torch.clamp_min(c, 0.0) + 0.1 * v,
    "absolute value at 0": lambda c, v: c.abs() + 0.1 * v,
    "a power of 0": lambda c, v: (c.abs() ** 1.7) + 0.1 * v,
    "a power below 1": lambda c, v: (c.abs() + 0.1) ** 0.3 + 0.1 * v,
    "a negative power": lambda c, v: (c.abs() + 0.1) ** -0.7 + 0.1 * v,
    "0 to the power of 0": lambda c, v: torch.pow(c.clamp(min=0.0), (c * 0)) + 0.1 * v,
    "a power of both": lambda c, v: torch.pow(c.abs() + 0.2, c) + 0.1 * v,
    "sign": lambda c, v: torch.sign(c) + c + 0.1 * v,
    "a choice of NaN": lambda c, v: torch.where(c > 0, torch.sqrt(c), 0 * c) + 0.1 * v,
    "floor of a quotient": lambda c, v: torch.div(c, 0.7, rounding_mode="floor") + 0.3 * v + c,
    "a quotient cut off": lambda c, v: torch.div(c, -0.7, rounding_mode="trunc") + 0.3 * v + c,
    "remainder": lambda c, v: torch.remainder(c, -0.7) + 0.3 * v,
    "addcmul": lambda c, v: torch.addcmul(c, v, v, value=0.3),
    "addcmul of a number": lambda c, v: torch.addcmul(c, v, torch.tensor(0.3, dtype=c.dtype)),
    "addcdiv": lambda c, v: torch.addcdiv(c, v, 2 + v * v, value=-0.3),
}


QUICK = ("a mask times infinity", "maximum at a tie", "0 to the power of 0", "addcmul")


@dataclass(frozen=True)
class Odd(LIF):
    """A cell with one odd operation."""

    v_threshold: float = 1e9
    change: Any = None

    def integrate(self, current, state, dt):
        return state._replace(v=self.change(current, state.v))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in ODD]
)
def test_odd_numbers_are_those_of_the_plain_loop(name):
    """Values to a few roundings of powers; NaN and infinities in the same places."""
    found = []
    for mode in ("plain", "numba"):
        x = CURRENTS.double().requires_grad_()
        with using(mode):
            v = simulate(Odd(change=ODD[name]), x).v
        (slope,) = torch.autograd.grad(v.sum(), x)
        found.append((v.detach(), slope))
    for ours, plain in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-13, atol=1e-13, equal_nan=True)


@pytest.mark.parametrize("tau", [20.0, 2e3, 1e4, 1e5, 1e6])
def test_a_slow_membrane_in_single_precision_has_its_gradient(tau):
    """1e-6 of the gradient in float64: the number 1 - exp(-dt / tau) is rounded once, as in the plain loop."""
    slopes = []
    for mode, dtype in (("plain", DOUBLE), ("plain", torch.float32), ("numba", torch.float32)):
        x = torch.zeros(20, 3, dtype=dtype, requires_grad=True)
        with using(mode):
            slopes.append(torch.autograd.grad(scan(LIF(tau_mem=tau), x)[1].v.sum(), x)[0].double())
    for slope in slopes[1:]:
        torch.testing.assert_close(slope, slopes[0], rtol=1e-6, atol=0)


@pytest.mark.slow
def test_a_power_close_to_one_in_single_precision_has_its_gradient():
    """The exponent less one is a number of float64, too."""
    slopes = []
    for mode, dtype in (("plain", DOUBLE), ("numba", torch.float32)):
        x = torch.full((1, 1), 1e-6, dtype=dtype, requires_grad=True)
        with using(mode):
            v = simulate(Odd(change=lambda c, v: c**1.0000001), x).v
        slopes.append(torch.autograd.grad(v.sum(), x)[0].double())
    torch.testing.assert_close(slopes[1], slopes[0], rtol=2e-7, atol=0)  # roundings; 1.2e-7 is one of float32
