"""Neurons, one file per family, each checked against Brian2. Imports `machine` and `rules.spikes`."""

from sandbox.neurons.adaptive_lif import ALIF, ALIFState
from sandbox.neurons.adex import AdEx, AdExState
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell
from sandbox.neurons.conductance_lif import CobaLIF, CobaLIFState
from sandbox.neurons.counting import ASN, ILIF, NASN, NILIF, CountState
from sandbox.neurons.eif import EIF, EIFState
from sandbox.neurons.escape_lif import EscapeLIF, EscapeLIFState
from sandbox.neurons.euler_cuba_lif import EulerCubaLIF
from sandbox.neurons.fitzhugh_nagumo import FitzHughNagumo, FitzHughNagumoState
from sandbox.neurons.gated_lif import GLIF, GLIFState
from sandbox.neurons.hodgkin_huxley import ChannelState, HodgkinHuxley, TraubMiles
from sandbox.neurons.izhikevich import Izhikevich, IzhikevichState
from sandbox.neurons.leaky_integrator import CubaLI, CubaLIState, Integrator, LeakyIntegrator, LeakyIntegratorState
from sandbox.neurons.learnable import Learned, learnable
from sandbox.neurons.lif import LIF, LIFState
from sandbox.neurons.morris_lecar import MorrisLecar, MorrisLecarState
from sandbox.neurons.multi_spike import MultiIF, MultiLIF
from sandbox.neurons.parallel import PSN, Ended, MaskedPSN, Past, PlacedPast, SlidingPSN, Whole
from sandbox.neurons.published_lif import CPLIF, IF, KLIF, MSLIF, PLIF
from sandbox.neurons.qif import QIF, QIFState
from sandbox.neurons.resonate_and_fire import ResonateAndFire, ResonateAndFireState
from sandbox.neurons.stochastic_binary import StochasticBinary, StochasticBinaryState
from sandbox.neurons.synaptic_lif import AlphaLIF, AlphaLIFState, CubaLIF, CubaLIFState
from sandbox.neurons.two_compartment import TwoCompartment, TwoCompartmentState

NEURONS: dict[str, type[Cell]] = {
    "lif": LIF,
    "cuba_lif": CubaLIF,
    "alpha_lif": AlphaLIF,
    "coba_lif": CobaLIF,
    "alif": ALIF,
    "escape_lif": EscapeLIF,
    "leaky_integrator": LeakyIntegrator,
    "integrator": Integrator,
    "cuba_li": CubaLI,
    "stochastic_binary": StochasticBinary,
    "two_compartment": TwoCompartment,
    "resonate_and_fire": ResonateAndFire,
    "qif": QIF,
    "eif": EIF,
    "adex": AdEx,
    "izhikevich": Izhikevich,
    "hodgkin_huxley": HodgkinHuxley,
    "traub_miles": TraubMiles,
    "fitzhugh_nagumo": FitzHughNagumo,
    "morris_lecar": MorrisLecar,
    "if": IF,
    "plif": PLIF,
    "ms_lif": MSLIF,
    "klif": KLIF,
    "euler_cuba_lif": EulerCubaLIF,
    "multi_lif": MultiLIF,
    "multi_if": MultiIF,
    "cplif": CPLIF,
    "glif": GLIF,
    "ilif": ILIF,
    "nilif": NILIF,
    "asn": ASN,
    "nasn": NASN,
    "psn": PSN,
    "masked_psn": MaskedPSN,
    "sliding_psn": SlidingPSN,
}

IN_BRIAN2: dict[str, type[Neuron]] = {  # those with equations
    name: cell for name, cell in NEURONS.items() if issubclass(cell, Neuron) and cell.equations
}

__all__ = [
    "ALIF",
    "ASN",
    "CPLIF",
    "EIF",
    "GLIF",
    "IF",
    "ILIF",
    "IN_BRIAN2",
    "KLIF",
    "LIF",
    "MSLIF",
    "NASN",
    "NEURONS",
    "NILIF",
    "PLIF",
    "PSN",
    "QIF",
    "ALIFState",
    "AdEx",
    "AdExState",
    "AlphaLIF",
    "AlphaLIFState",
    "Cell",
    "ChannelState",
    "CobaLIF",
    "CobaLIFState",
    "CountState",
    "CubaLI",
    "CubaLIF",
    "CubaLIFState",
    "CubaLIState",
    "EIFState",
    "Ended",
    "EscapeLIF",
    "EscapeLIFState",
    "EulerCubaLIF",
    "FitzHughNagumo",
    "FitzHughNagumoState",
    "GLIFState",
    "HodgkinHuxley",
    "Integrator",
    "Izhikevich",
    "IzhikevichState",
    "LIFState",
    "LeakyIntegrator",
    "LeakyIntegratorState",
    "Learned",
    "MaskedPSN",
    "MorrisLecar",
    "MorrisLecarState",
    "MultiIF",
    "MultiLIF",
    "Neuron",
    "Past",
    "PlacedPast",
    "QIFState",
    "ResonateAndFire",
    "ResonateAndFireState",
    "SlidingPSN",
    "StochasticBinary",
    "StochasticBinaryState",
    "TraubMiles",
    "TwoCompartment",
    "TwoCompartmentState",
    "Whole",
    "learnable",
]
