"""Run neurons and networks in Brian2, and compare. Brian2 is imported in this package alone."""

from sandbox.reference.compiler.compile import from_brian2
from sandbox.reference.compiler.neuron import CompiledNeuron
from sandbox.reference.conformance.report import Check, ConformanceReport
from sandbox.reference.conformance.stimuli import noisy_currents
from sandbox.reference.conformance.validate import validate
from sandbox.reference.network import Brian2Network, to_brian2
from sandbox.reference.network_report import NetworkReport
from sandbox.reference.synapses.compile import from_brian2_synapses
from sandbox.reference.synapses.rule import CompiledSynapses

__all__ = [
    "Brian2Network",
    "Check",
    "CompiledNeuron",
    "CompiledSynapses",
    "ConformanceReport",
    "NetworkReport",
    "from_brian2",
    "from_brian2_synapses",
    "noisy_currents",
    "to_brian2",
    "validate",
]
