"""The only room where Brian2 is imported: run it, and compare."""

from sandbox.reference.compiled import CompiledNeuron
from sandbox.reference.compiler import from_brian2
from sandbox.reference.conformance import validate
from sandbox.reference.network import Brian2Network, to_brian2
from sandbox.reference.network_report import NetworkReport
from sandbox.reference.report import Check, ConformanceReport
from sandbox.reference.stimuli import noisy_currents

__all__ = [
    "Brian2Network", "Check", "CompiledNeuron", "ConformanceReport", "NetworkReport", "from_brian2", "noisy_currents",
    "to_brian2", "validate",
]  # fmt: skip
