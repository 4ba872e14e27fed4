"""Circuits against Brian2, spike by spike: every neuron, every kind of connection, delays, groups, one second."""

from __future__ import annotations

import pytest
import torch

from sandbox import LIF, Circuit, Connection, CubaLIF, from_brian2, simulate_circuit
from sandbox.kernels import using
from sandbox.neurons import IN_BRIAN2
from sandbox.reference.circuit_in_brian2 import run_circuit
from tests.sandbox.circuits.conftest import CELLS, DOUBLE, wired

FINE = {"hodgkin_huxley": 0.02, "traub_miles": 0.02}
QUICK = ("lif",)
SPIKING = [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name, cls in IN_BRIAN2.items() if cls.spiking
]


def agree(circuit, currents, dt, state=None):
    """The compiled loop and Brian2: the same cells at the same steps."""
    with using("numba"):
        ours = simulate_circuit(circuit, currents, dt, state=state).events
    theirs = run_circuit(circuit, currents, dt, state)
    assert torch.equal(ours.step, theirs.step)
    assert torch.equal(ours.cell, theirs.cell)
    return ours


@pytest.mark.parametrize("name", SPIKING)
def test_every_neuron_with_every_kind_of_connection(name, tmp_path, monkeypatch):
    monkeypatch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path))
    dt = FINE.get(name, 0.5)
    circuit, currents = wired(IN_BRIAN2[name](), dt=dt)
    assert len(agree(circuit, currents[:, 0], dt).step) or name == "traub_miles"


def test_cells_that_are_never_refractory_take_jumps_at_their_spikes():
    """ "(unless refractory)" without a period means nothing, as in Brian2."""
    neuron = from_brian2(
        "dv/dt = (-v + 10*Mohm*current) / (20*ms) : volt (unless refractory)", threshold="v > 15*mV", reset="v -= 15*mV"
    )
    assert neuron.clamped == frozenset()
    jumps = Connection(5 * (1 - torch.eye(4, dtype=DOUBLE)), kind="jump")
    assert len(agree(Circuit(neuron, 4, [jumps]), torch.full((400, 4), 1.7, dtype=DOUBLE), 0.5).step) > 10


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["to_value", "subtract", "none"])
@pytest.mark.parametrize("period", [0.0, 0.5, 2.0])
def test_jumps_of_refractory_cells(reset, period):
    circuit, currents = wired(LIF(reset=reset, t_refractory=period))
    assert len(agree(circuit, currents[:, 0], 0.5).step)


@pytest.mark.slow
def test_groups_and_a_state_to_start_from():
    rng = torch.Generator().manual_seed(0)
    circuit = Circuit(
        LIF(tau_mem=torch.linspace(5.0, 20.0, CELLS, dtype=DOUBLE)),
        CELLS,
        [
            Connection(torch.rand(CELLS, 8, generator=rng, dtype=DOUBLE), tau=5.0, source="e", delay=1.0),
            Connection(-torch.rand(8, 4, generator=rng, dtype=DOUBLE), tau=10.0, source="i", target="e"),
        ],
        {"e": slice(0, 8), "i": slice(8, CELLS)},
    )
    start = LIF().initial_state((CELLS,), torch.zeros(CELLS, dtype=DOUBLE))
    start = start._replace(v=torch.rand(CELLS, generator=rng, dtype=DOUBLE))
    assert len(agree(circuit, 2 * torch.rand(200, CELLS, generator=rng, dtype=DOUBLE), 0.5, start).step)


@pytest.mark.slow(minutes=1)
def test_a_thousand_cells_for_a_second():
    """Sparse weights, a delay for each synapse, and both currents and jumps: no spike differs."""
    rng, n, dt = torch.Generator().manual_seed(0), 1000, 0.1
    there = torch.rand(n, n, generator=rng) < 0.1
    size = torch.full((n,), 0.04, dtype=DOUBLE)
    size[n * 4 // 5 :] = -0.2
    weights = (there * size).to_sparse_csr()
    late = torch.randint(0, 40, (weights.values().numel(),), generator=rng) * dt
    circuit = Circuit(
        CubaLIF(t_refractory=2.0),
        n,
        [
            Connection(weights, kind="jump", variable="i_syn", delay=late),
            Connection(0.1 * weights, tau=8.0, delay=1.5),
        ],
    )
    drive = 1.1 + 0.5 * torch.rand(n, generator=rng, dtype=DOUBLE)
    found = agree(circuit, drive.expand(10_000, n), dt)
    assert 10 < len(found.step) / n < 100
