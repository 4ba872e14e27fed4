"""What is taught, to whom, and how it is judged: neurons held to Brian2, networks, tasks, and comparisons of rules."""

from sandbox.microscope import Microscope
from sandbox.networks.build import build
from sandbox.networks.calibration import calibrate, firing_report
from sandbox.networks.network import Layer, Network, Population, Residual
from sandbox.networks.noisy import NoisyReadout
from sandbox.neurons import LIF, NEURONS, LeakyIntegrator, Learned, LIFState, Neuron, learnable
from sandbox.reference import CompiledNeuron, ConformanceReport, from_brian2, validate
from sandbox.simulation import Trajectory, scan, simulate
from sandbox.tasks import TASKS

__all__ = [
    "LIF",
    "NEURONS",
    "TASKS",
    "CompiledNeuron",
    "ConformanceReport",
    "LIFState",
    "Layer",
    "LeakyIntegrator",
    "Learned",
    "Microscope",
    "Network",
    "Neuron",
    "NoisyReadout",
    "Population",
    "Residual",
    "Trajectory",
    "build",
    "calibrate",
    "firing_report",
    "from_brian2",
    "learnable",
    "scan",
    "simulate",
    "validate",
]
