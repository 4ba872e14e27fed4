"""Neurons: one file a family, each held to Brian2."""

from sandbox.neurons.base import Neuron, Trajectory, scan, simulate
from sandbox.neurons.leaky_integrator import LeakyIntegrator, LeakyIntegratorState
from sandbox.neurons.lif import LIF, LIFState

NEURONS: dict[str, type[Neuron]] = {
    "lif": LIF,
    "leaky_integrator": LeakyIntegrator,
}

__all__ = [
    "LIF", "NEURONS", "LIFState", "LeakyIntegrator", "LeakyIntegratorState", "Neuron", "Trajectory", "scan", "simulate",
]  # fmt: skip
