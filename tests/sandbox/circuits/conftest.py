"""What the tests of circuits share: random circuits with every kind of connection, and a cache of their own."""

from __future__ import annotations

import pytest
import torch

from sandbox import Circuit, Connection

DOUBLE = torch.float64
CELLS = 12


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """A folder for kernels that nobody has filled before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path_factory.mktemp("kernels")))
        yield


def wired(neuron, seed=0, dt=0.5, strength=1.0, jump="v", n=CELLS):
    """A circuit with one connection of each kind and storage, and currents `[300, 2, n]` of about the rheobase."""
    rng = torch.Generator().manual_seed(seed)
    scale = strength * float(neuron.rheobase)
    weights = torch.randn(n, n, generator=rng, dtype=DOUBLE)
    there = torch.rand(n, n, generator=rng) < 0.3
    late = torch.randint(0, 5, (n, n), generator=rng) * dt
    connections = [
        Connection(scale * weights, delay=2 * dt, tau=5.0),
        Connection(scale * weights, mask=there, delay=late),
        Connection((0.01 * weights.abs() * there).to_sparse_csr(), kind="conductance", tau=2.0, reversal=0.0),
        Connection((0.3 * float(neuron.swing) * weights * there).to_sparse_csr(), kind="jump", variable=jump),
    ]
    currents = 3 * scale * torch.rand(300, 2, n, generator=rng, dtype=DOUBLE)
    return Circuit(neuron, n, connections), currents
