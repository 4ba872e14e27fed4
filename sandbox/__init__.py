"""What is taught, to whom, and how it is judged: neurons held to Brian2, networks, tasks, and comparisons of rules."""

from sandbox.build import build, calibrate, firing_report
from sandbox.network import Layer, Network, Population, Residual
from sandbox.neurons import LIF, NEURONS, LeakyIntegrator, LIFState, Neuron, Trajectory, scan, simulate
from sandbox.reference import ConformanceReport, validate
from sandbox.tasks import TASKS

__all__ = [
    "LIF", "NEURONS", "TASKS", "ConformanceReport", "LIFState", "Layer", "LeakyIntegrator", "Network", "Neuron",
    "Population", "Residual", "Trajectory", "build", "calibrate", "firing_report", "scan", "simulate", "validate",
]  # fmt: skip
