"""Every type of node against its equation: SciPy's solver between steps, or a closed form."""

from __future__ import annotations

import nir
import numpy as np
import pytest
import torch
from nir.ir.graph import Identity
from scipy.integrate import solve_ivp
from scipy.signal import correlate, correlate2d

from sandbox import from_nir, simulate
from sandbox.networks.population import Population
from tests.sandbox.nir.graphs import DT, SEVERAL, chained, full

T = 60
TOLERANCE = 1e-9  # the solver's own tolerance is 1e-12 a step; errors of 60 steps add up to less
RNG = np.random.default_rng(0)


def solved(node, x, dt):
    """Voltages after each step, before the reset, and spikes; each cell by itself, from dv/dt as NIR states it."""
    kind, count = type(node).__name__, x.shape[1]
    get = lambda name, cell: float(np.broadcast_to(getattr(node, name), (count,))[cell])  # noqa: E731

    def slope(cell, current):
        leak = lambda v, i, tau: (get("v_leak", cell) - v + get("r", cell) * i) / get(tau, cell)  # noqa: E731
        if kind in ("LIF", "LI"):
            return lambda t, y: [leak(y[0], current, "tau")]
        if kind in ("IF", "I"):
            return lambda t, y: [get("r", cell) * current]
        return lambda t, y: [
            leak(y[0], y[1], "tau_mem"),
            (-y[1] + get("w_in", cell) * current) / get("tau_syn", cell),
        ]

    voltages, spikes = np.zeros(x.shape), np.zeros(x.shape)
    for cell in range(count):
        y = [get("v_leak", cell) if hasattr(node, "v_leak") else 0.0] + [0.0] * kind.startswith("Cuba")
        for t in range(len(x)):
            end = solve_ivp(slope(cell, x[t, cell]), (0, dt), y, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
            voltages[t, cell] = end[0]
            if hasattr(node, "v_threshold") and end[0] > get("v_threshold", cell):
                spikes[t, cell], end[0] = 1.0, get("v_reset", cell)
            y = list(end)
    return voltages, spikes


@pytest.mark.parametrize("kind", SEVERAL)
def test_neurons_follow_their_equations(kind):
    node, x = SEVERAL[kind], 1 + RNG.normal(size=(T, 3))
    voltages, spikes = solved(node, x, DT / 1000)
    net = from_nir(chained(node), dt=DT, dtype=torch.float64)
    output, _, u = net.layers[0].cells(torch.from_numpy(x)[:, None], record=True)
    assert torch.equal(net(torch.from_numpy(x)[:, None]).output, output)
    if hasattr(node, "v_threshold"):
        assert spikes.sum(0).all()
        assert (output[:, 0].numpy() == spikes).all()
    v = u[:, 0].numpy() + getattr(node, "v_threshold", 0.0)
    np.testing.assert_allclose(v, voltages, rtol=0, atol=TOLERANCE)


def test_a_leaky_neuron_in_closed_form():
    """1 - exp(-t / tau), and a spike strictly above the threshold."""
    net = from_nir(chained(nir.LIF(full(0.01, 1), full(1.0, 1), full(0.0, 1), full(10.0, 1))), dt=1.0)
    cells = next(module for module in net.modules() if isinstance(module, Population)).neuron
    v = simulate(cells, torch.ones(30, 1, dtype=torch.float64), 1.0).v[:, 0].numpy()
    np.testing.assert_allclose(v, 1 - np.exp(-np.arange(1, 31) / 10), rtol=1e-12)


@pytest.mark.parametrize(("current", "fires"), [(1.0, 0), (1.0 + 1e-12, 1)])
def test_at_the_threshold_a_cell_is_silent(current, fires):
    net = from_nir(chained(nir.IF(full(1000.0, 1), full(1.0, 1))), dt=1.0, dtype=torch.float64)
    assert int(net(torch.full((1, 1, 1), current, dtype=torch.float64)).output.sum()) == fires


def test_a_spike_lasts_for_a_step():
    """w_in = tau_syn / dt makes it move the synapse by about 1, as exporters mean it; the charge is w_in dt."""
    dt, tau = 1e-4, 5e-3
    node = nir.CubaLI(full(tau, 1), full(1e-6, 1), full(1.0, 1), full(0.0, 1), full(tau / dt, 1))
    with pytest.warns(UserWarning, match="longer than the fastest time constant"):
        net = from_nir(chained(node), dt=0.1, dtype=torch.float64)
    x = torch.zeros(800, 1, 1, dtype=torch.float64)
    x[0] = 1.0
    v = net(x).output[:, 0, 0]
    assert float(v[0]) == pytest.approx(1.0, abs=dt / tau)  # it decays in its step, too
    assert float(v.sum()) * dt == pytest.approx(tau, rel=1e-3)  # the membrane is late by a hundredth of a step


def test_a_membrane_much_faster_than_a_step_follows_its_synapse():
    """Whose exponentials would overflow, one by one; it is late by its time constant, a thousandth of a step."""
    node = nir.CubaLI(full(5e-3, 1), full(1e-7, 1), full(1.0, 1), full(0.0, 1))
    with pytest.warns(UserWarning, match="longer than the fastest time constant"):
        cells = from_nir(chained(node), dt=0.1, dtype=torch.float64).layers[0].cells.neuron
    run = simulate(cells, torch.ones(100, 1, dtype=torch.float64), 0.1, ("v", "i_syn"))
    np.testing.assert_allclose(run.i_syn[:, 0], 1 - np.exp(-np.arange(1, 101) / 50), rtol=1e-12)
    np.testing.assert_allclose(run.v, run.i_syn, atol=1e-7 / 5e-3)


def test_thresholds_factors_and_products():
    x = RNG.normal(size=(7, 4))
    s, w, b, t = RNG.normal(size=4), RNG.normal(size=(3, 4)), RNG.normal(size=3), np.array([0.0, 0.1, -0.2])
    graph = chained(nir.Scale(s), nir.Affine(w, b), nir.Threshold(t))
    got = from_nir(graph, dt=DT, dtype=torch.float64)(torch.from_numpy(x)[:, None]).output[:, 0]
    assert (got.detach().numpy() == ((x * s) @ w.T + b > t)).all()
    got = from_nir(chained(nir.Linear(w)), dt=DT, dtype=torch.float64)(torch.from_numpy(x)[:, None]).output[:, 0]
    np.testing.assert_allclose(got.detach(), x @ w.T, atol=1e-12)


def test_convolutions():
    x = RNG.normal(size=(2, 9, 8))
    w, b = RNG.normal(size=(3, 2, 3, 3)), RNG.normal(size=3)
    wanted = np.stack([sum(correlate2d(x[c], w[o, c], "valid") for c in range(2)) + b[o] for o in range(3)])
    for padding, stride, want in (
        (0, 1, wanted),
        ((0, 0), (2, 1), wanted[:, ::2]),
        ("valid", 1, wanted),
    ):
        node = nir.Conv2d((9, 8), w, stride, padding, 1, 1, b)
        graph = chained(node, nir.Flatten({"input": np.array(want.shape)}, 0, -1), shape=(2, 9, 8))
        got = from_nir(graph, dt=DT, dtype=torch.float64)(torch.from_numpy(x)[None, None]).output[0, 0]
        np.testing.assert_allclose(got.detach(), want.ravel(), atol=1e-12)
    y, k = x[:, 0], w[:, :, 0]
    want = np.stack([sum(correlate(y[c], k[o, c], "valid") for c in range(2)) + b[o] for o in range(3)])
    node = nir.Conv1d(8, k, 1, 0, 1, 1, b)
    got = from_nir(chained(node, shape=(2, 8)), dt=DT, dtype=torch.float64)(torch.from_numpy(y)[None, None]).output
    np.testing.assert_allclose(got[0, 0].detach(), want, atol=1e-12)


@pytest.mark.parametrize(("kind", "whole"), [(nir.SumPool2d, 1.0), (nir.AvgPool2d, 0.25)])
def test_pools(kind, whole):
    x = RNG.normal(size=(2, 6, 4))
    node = kind(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    got = from_nir(chained(node, shape=x.shape), dt=DT)(torch.from_numpy(x)[None, None]).output[0, 0]
    np.testing.assert_allclose(got, x.reshape(2, 3, 2, 2, 2).sum((2, 4)) * whole, atol=1e-12)


@pytest.mark.parametrize(("start", "end", "want"), [(0, -1, (30,)), (1, -1, (2, 15)), (0, 1, (6, 5))])
def test_flatten_counts_axes_without_the_batch(start, end, want):
    node = nir.Flatten({"input": np.array([2, 3, 5])}, start, end)
    net = from_nir(chained(node), dt=DT)
    assert net(torch.zeros(4, 7, 2, 3, 5)).output.shape == (4, 7, *want)


def test_delays_are_steps_of_their_own_and_go_on_with_the_carry():
    net = from_nir(chained(nir.Delay(np.array([0.0, 0.001, 0.0025]))), dt=DT, dtype=torch.float64)
    x = torch.from_numpy(RNG.normal(size=(12, 2, 3)))
    whole = net(x).output
    for cell, steps in enumerate((0, 2, 5)):
        assert torch.equal(whole[steps:, :, cell], x[: 12 - steps, :, cell])
        assert not whole[:steps, :, cell].any()
    first = net(x[:1])
    second = net(x[1:], first.carry)
    assert torch.equal(torch.cat([first.output, second.output]), whole)


def test_a_loop_takes_a_step():
    """Against a plain loop over time, with a bias that is heard from the first step on."""
    w, b = RNG.normal(size=(3, 3)), RNG.normal(size=3)
    nodes = {
        "input": nir.Input({"input": np.array([3])}),
        "lif": nir.LIF(full(0.01), full(2.0), full(0.0), full(0.3)),
        "back": nir.Affine(w, b),
        "output": nir.Output({"output": np.array([3])}),
    }
    graph = nir.NIRGraph(nodes, [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")])
    x, kept = 1 + RNG.normal(size=(T, 3)), np.exp(-DT / 10)
    v, z, rows = np.zeros(3), np.zeros(3), []
    for current in x:
        v = kept * v + (1 - kept) * 2.0 * (current + w @ z + b)
        z = (v > 0.3).astype(float)
        v = np.where(z > 0, 0.0, v)
        rows.append(z)
    got = from_nir(graph, dt=DT, dtype=torch.float64)(torch.from_numpy(x)[:, None]).output[:, 0]
    assert np.sum(rows) > 5
    assert (got.detach().numpy() == np.stack(rows)).all()


def test_subgraphs_and_identities_are_opened():
    inner = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([3])}),
            "lif": SEVERAL["LIF"],
            "back": nir.Linear(np.zeros((3, 3))),
            "output": nir.Output({"output": np.array([3])}),
        },
        [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")],
    )
    graph = chained(nir.Linear(np.eye(3)), Identity({"input": np.array([3])}), inner, shape=(3,))
    plain = chained(nir.Linear(np.eye(3)), SEVERAL["LIF"])
    x = torch.from_numpy(1 + RNG.normal(size=(T, 1, 3)))
    a, b = (from_nir(g, dt=DT, dtype=torch.float64)(x).output for g in (graph, plain))
    assert a.sum() > 0
    assert torch.equal(a, b)


def test_euler_is_euler():
    """The same recursion written out, synapse and membrane together."""
    node, dt = SEVERAL["CubaLIF"], DT / 1000
    x = 1 + RNG.normal(size=(T, 3))
    v, i, rows = np.full(3, 0.1), np.zeros(3), []
    for current in x:
        v, i = (
            v + dt / node.tau_mem * (node.v_leak - v + node.r * i),
            i + dt / node.tau_syn * (node.w_in * current - i),
        )
        z = v > node.v_threshold
        v = np.where(z, node.v_reset, v)
        rows.append(z)
    net = from_nir(chained(node), dt=DT, scheme="euler", dtype=torch.float64)
    assert np.sum(rows) > 5
    assert (net(torch.from_numpy(x)[:, None]).output[:, 0].numpy() == np.stack(rows)).all()
