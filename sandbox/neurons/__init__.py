"""Neurons, one file per family, each checked against Brian2. Imports `machine` and `rules.spikes`."""

from sandbox.neurons.adaptive_lif import ALIF, ALIFState
from sandbox.neurons.adex import AdEx, AdExState
from sandbox.neurons.base import Neuron
from sandbox.neurons.conductance_lif import CobaLIF, CobaLIFState
from sandbox.neurons.eif import EIF, EIFState
from sandbox.neurons.escape_lif import EscapeLIF, EscapeLIFState
from sandbox.neurons.fitzhugh_nagumo import FitzHughNagumo, FitzHughNagumoState
from sandbox.neurons.hodgkin_huxley import ChannelState, HodgkinHuxley, TraubMiles
from sandbox.neurons.izhikevich import Izhikevich, IzhikevichState
from sandbox.neurons.leaky_integrator import LeakyIntegrator, LeakyIntegratorState
from sandbox.neurons.learnable import Learned, learnable
from sandbox.neurons.lif import LIF, LIFState
from sandbox.neurons.morris_lecar import MorrisLecar, MorrisLecarState
from sandbox.neurons.qif import QIF, QIFState
from sandbox.neurons.resonate_and_fire import ResonateAndFire, ResonateAndFireState
from sandbox.neurons.stochastic_binary import StochasticBinary, StochasticBinaryState
from sandbox.neurons.synaptic_lif import AlphaLIF, AlphaLIFState, CubaLIF, CubaLIFState
from sandbox.neurons.two_compartment import TwoCompartment, TwoCompartmentState

NEURONS: dict[str, type[Neuron]] = {
    "lif": LIF,
    "cuba_lif": CubaLIF,
    "alpha_lif": AlphaLIF,
    "coba_lif": CobaLIF,
    "alif": ALIF,
    "escape_lif": EscapeLIF,
    "leaky_integrator": LeakyIntegrator,
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
}

__all__ = [
    "ALIF",
    "EIF",
    "LIF",
    "NEURONS",
    "QIF",
    "ALIFState",
    "AdEx",
    "AdExState",
    "AlphaLIF",
    "AlphaLIFState",
    "ChannelState",
    "CobaLIF",
    "CobaLIFState",
    "CubaLIF",
    "CubaLIFState",
    "EIFState",
    "EscapeLIF",
    "EscapeLIFState",
    "FitzHughNagumo",
    "FitzHughNagumoState",
    "HodgkinHuxley",
    "Izhikevich",
    "IzhikevichState",
    "LIFState",
    "LeakyIntegrator",
    "LeakyIntegratorState",
    "Learned",
    "MorrisLecar",
    "MorrisLecarState",
    "Neuron",
    "QIFState",
    "ResonateAndFire",
    "ResonateAndFireState",
    "StochasticBinary",
    "StochasticBinaryState",
    "TraubMiles",
    "TwoCompartment",
    "TwoCompartmentState",
    "learnable",
]
