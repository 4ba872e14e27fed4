"""Circuits: cells with delayed, dense or sparse synapses, in one loop. Imports `simulation`, `kernels`, `synapses`."""

from sandbox.circuits.circuit import Circuit
from sandbox.circuits.connection import KINDS, Connection
from sandbox.circuits.simulate import simulate_circuit

__all__ = ["KINDS", "Circuit", "Connection", "simulate_circuit"]
