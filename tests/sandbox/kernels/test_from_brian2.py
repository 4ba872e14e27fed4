"""A model that is in no library, from its equations: it trains along the same curve with and without kernels."""

from __future__ import annotations

import pytest
import torch

import rules
from sandbox import build, scan
from sandbox.kernels import using
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.neurons import LeakyIntegrator

pytest.importorskip("brian2")
EQUATIONS = """
    dv/dt = (v_rest - v + k * tanh(v / (10*mV)) * mV - w / (1*nS) + r * current) / tau : volt
    dw/dt = (a * (v - v_rest) - w) / (30*ms) : amp
    dz/dt = -z / (7*ms) : 1
"""


@pytest.mark.slow
def test_it_trains_along_the_same_curve(rng):
    """In float64, twenty steps of Adam; 1e-8 for roundings that learning amplifies."""
    from sandbox.reference import from_brian2

    cell = from_brian2(
        EQUATIONS,
        "v > v_t + z * mV",
        "v = v_rest; w += b; z += 1",
        method="euler",
        namespace={
            "v_rest": "0*mV",
            "k": 0.4,
            "r": "1*Mohm",
            "tau": "8*ms",
            "a": "0.01*nS",
            "v_t": "1*mV",
            "b": "0.02*pA",
        },
    )
    net = build((4,), 3, (40,), neuron=cell, readout=LeakyIntegrator(tau_mem=5.0)).double()
    x, y = 4 * torch.rand(20, 32, 4, generator=rng, dtype=torch.float64), torch.arange(32) % 3
    start = {name: p.clone() for name, p in net.state_dict().items()}
    curves = []
    for mode in ("plain", "numba"):
        net.load_state_dict(start)
        with using(mode):
            trainer = rules.Trainer(net, rules.make("bptt", lr=1e-2))
            curves.append([trainer.step((x, y)).loss for _ in range(20)])
    assert STRUCTURES
    assert curves[0][-1] < curves[0][0]
    assert curves[1] == pytest.approx(curves[0], rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("times", [(5.0, 5.0, 5.0), (5.0, 5.0, 8.0), (5.0, 5.001, 80.0)])
def test_exact_steps_of_close_rates_have_the_same_derivatives(times, rng):
    """Time constants that are learned, in float64, where both round in other orders."""
    from sandbox.reference import from_brian2

    names = ("tau_g", "tau_v", "tau_w")
    text = "dg/dt = (current/nA - g)/tau_g : 1\ndv/dt = (g - v)/tau_v : 1\ndw/dt = (v - w)/tau_w : 1"
    cell = from_brian2(text, "w > 0.1", "w = 0", method="exact", namespace=dict.fromkeys(names, "5*ms"))
    x, found = torch.rand(60, 2, 3, generator=rng, dtype=torch.float64), []
    for mode in ("plain", "numba"):
        values = [torch.full((3,), value, dtype=torch.float64, requires_grad=True) for value in times]
        with using(mode):
            spikes = scan(cell.with_parameters(**dict(zip(names, values, strict=True))), x, dt=0.5)[0]
        found.append(torch.stack([spikes.detach().sum((0, 1)), *torch.autograd.grad(spikes.sum(), values)]))
    assert found[0][0, 0] > 0
    torch.testing.assert_close(found[1], found[0], rtol=1e-11, atol=1e-11)
