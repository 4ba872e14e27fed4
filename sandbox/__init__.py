"""What is taught, to whom, and how it is judged: neurons checked against Brian2, networks, tasks, comparisons of rules.

Imports `rules`. What stands here is public; every other module is internal, and may move, but for those that README
and documentation name.
"""

from typing import TYPE_CHECKING

from sandbox.machine.packages import own_version, require_own_rules

require_own_rules()  # before anything is taken from it

from rules.lazy import face  # noqa: E402

if TYPE_CHECKING:
    from sandbox.circuits import Circuit as Circuit
    from sandbox.circuits import Connection as Connection
    from sandbox.circuits import simulate_circuit as simulate_circuit
    from sandbox.comparisons.comparison import Comparison as Comparison
    from sandbox.comparisons.comparison import compare as compare
    from sandbox.config.experiment import Experiment as Experiment
    from sandbox.config.experiment import NetworkConfig as NetworkConfig
    from sandbox.config.published import recipe as recipe
    from sandbox.config.registry import Choice as Choice
    from sandbox.config.rule import RuleConfig as RuleConfig
    from sandbox.environments import Environment as Environment
    from sandbox.events import Events as Events
    from sandbox.inspection import inspect as inspect
    from sandbox.microscope import Microscope as Microscope
    from sandbox.networks.binary_inference import binary_inference as binary_inference
    from sandbox.networks.build import build as build
    from sandbox.networks.calibration import calibrate as calibrate
    from sandbox.networks.calibration import firing_report as firing_report
    from sandbox.networks.delays import DelayedPart as DelayedPart
    from sandbox.networks.delays import Delays as Delays
    from sandbox.networks.models.making import make_model as make_model
    from sandbox.networks.network import Layer as Layer
    from sandbox.networks.network import Network as Network
    from sandbox.networks.network import Residual as Residual
    from sandbox.networks.noisy import NoisyReadout as NoisyReadout
    from sandbox.networks.population import Population as Population
    from sandbox.neurons import ALIF as ALIF
    from sandbox.neurons import ASN as ASN
    from sandbox.neurons import CPLIF as CPLIF
    from sandbox.neurons import EIF as EIF
    from sandbox.neurons import GLIF as GLIF
    from sandbox.neurons import IF as IF
    from sandbox.neurons import ILIF as ILIF
    from sandbox.neurons import KLIF as KLIF
    from sandbox.neurons import LIF as LIF
    from sandbox.neurons import MSLIF as MSLIF
    from sandbox.neurons import NASN as NASN
    from sandbox.neurons import NEURONS as NEURONS
    from sandbox.neurons import NILIF as NILIF
    from sandbox.neurons import PLIF as PLIF
    from sandbox.neurons import PSN as PSN
    from sandbox.neurons import QIF as QIF
    from sandbox.neurons import AdEx as AdEx
    from sandbox.neurons import AlphaLIF as AlphaLIF
    from sandbox.neurons import Cell as Cell
    from sandbox.neurons import CobaLIF as CobaLIF
    from sandbox.neurons import CubaLI as CubaLI
    from sandbox.neurons import CubaLIF as CubaLIF
    from sandbox.neurons import EscapeLIF as EscapeLIF
    from sandbox.neurons import EulerCubaLIF as EulerCubaLIF
    from sandbox.neurons import FitzHughNagumo as FitzHughNagumo
    from sandbox.neurons import HodgkinHuxley as HodgkinHuxley
    from sandbox.neurons import Integrator as Integrator
    from sandbox.neurons import Izhikevich as Izhikevich
    from sandbox.neurons import LeakyIntegrator as LeakyIntegrator
    from sandbox.neurons import Learned as Learned
    from sandbox.neurons import LIFState as LIFState
    from sandbox.neurons import MaskedPSN as MaskedPSN
    from sandbox.neurons import MorrisLecar as MorrisLecar
    from sandbox.neurons import MultiIF as MultiIF
    from sandbox.neurons import MultiLIF as MultiLIF
    from sandbox.neurons import Neuron as Neuron
    from sandbox.neurons import ResonateAndFire as ResonateAndFire
    from sandbox.neurons import SlidingPSN as SlidingPSN
    from sandbox.neurons import StochasticBinary as StochasticBinary
    from sandbox.neurons import TraubMiles as TraubMiles
    from sandbox.neurons import TwoCompartment as TwoCompartment
    from sandbox.neurons import learnable as learnable
    from sandbox.nir.exporting import to_nir as to_nir
    from sandbox.nir.importing import from_nir as from_nir
    from sandbox.reference import CompiledNeuron as CompiledNeuron
    from sandbox.reference import CompiledSynapses as CompiledSynapses
    from sandbox.reference import ConformanceReport as ConformanceReport
    from sandbox.reference import from_brian2 as from_brian2
    from sandbox.reference import from_brian2_synapses as from_brian2_synapses
    from sandbox.reference import validate as validate
    from sandbox.runs.rows import load as load
    from sandbox.runs.run import run as run
    from sandbox.runs.trained import read_model as read_model
    from sandbox.simulation import Trajectory as Trajectory
    from sandbox.simulation import scan as scan
    from sandbox.simulation import simulate as simulate
    from sandbox.synapses import Sparse as Sparse
    from sandbox.tasks import TASKS as TASKS
    from sandbox.tasks import Dataset as Dataset
    from sandbox.tasks import LazySplit as LazySplit
    from sandbox.tasks import Samples as Samples
    from sandbox.tasks import Split as Split
    from sandbox.tasks import Task as Task

__version__ = own_version()

_HOMES = {
    "ALIF": "sandbox.neurons",
    "ASN": "sandbox.neurons",
    "AdEx": "sandbox.neurons",
    "AlphaLIF": "sandbox.neurons",
    "CPLIF": "sandbox.neurons",
    "Cell": "sandbox.neurons",
    "Choice": "sandbox.config.registry",
    "Circuit": "sandbox.circuits",
    "CobaLIF": "sandbox.neurons",
    "Comparison": "sandbox.comparisons.comparison",
    "CompiledNeuron": "sandbox.reference",
    "CompiledSynapses": "sandbox.reference",
    "ConformanceReport": "sandbox.reference",
    "Connection": "sandbox.circuits",
    "CubaLI": "sandbox.neurons",
    "CubaLIF": "sandbox.neurons",
    "Dataset": "sandbox.tasks",
    "DelayedPart": "sandbox.networks.delays",
    "Delays": "sandbox.networks.delays",
    "EIF": "sandbox.neurons",
    "Environment": "sandbox.environments",
    "EscapeLIF": "sandbox.neurons",
    "EulerCubaLIF": "sandbox.neurons",
    "Events": "sandbox.events",
    "Experiment": "sandbox.config.experiment",
    "FitzHughNagumo": "sandbox.neurons",
    "GLIF": "sandbox.neurons",
    "HodgkinHuxley": "sandbox.neurons",
    "IF": "sandbox.neurons",
    "ILIF": "sandbox.neurons",
    "Integrator": "sandbox.neurons",
    "Izhikevich": "sandbox.neurons",
    "KLIF": "sandbox.neurons",
    "LIF": "sandbox.neurons",
    "LIFState": "sandbox.neurons",
    "Layer": "sandbox.networks.network",
    "LazySplit": "sandbox.tasks",
    "LeakyIntegrator": "sandbox.neurons",
    "Learned": "sandbox.neurons",
    "MSLIF": "sandbox.neurons",
    "MaskedPSN": "sandbox.neurons",
    "Microscope": "sandbox.microscope",
    "MorrisLecar": "sandbox.neurons",
    "MultiIF": "sandbox.neurons",
    "MultiLIF": "sandbox.neurons",
    "NASN": "sandbox.neurons",
    "NEURONS": "sandbox.neurons",
    "NILIF": "sandbox.neurons",
    "Network": "sandbox.networks.network",
    "NetworkConfig": "sandbox.config.experiment",
    "Neuron": "sandbox.neurons",
    "NoisyReadout": "sandbox.networks.noisy",
    "PLIF": "sandbox.neurons",
    "PSN": "sandbox.neurons",
    "Population": "sandbox.networks.population",
    "QIF": "sandbox.neurons",
    "Residual": "sandbox.networks.network",
    "ResonateAndFire": "sandbox.neurons",
    "RuleConfig": "sandbox.config.rule",
    "Samples": "sandbox.tasks",
    "SlidingPSN": "sandbox.neurons",
    "Sparse": "sandbox.synapses",
    "Split": "sandbox.tasks",
    "StochasticBinary": "sandbox.neurons",
    "TASKS": "sandbox.tasks",
    "Task": "sandbox.tasks",
    "Trajectory": "sandbox.simulation",
    "TraubMiles": "sandbox.neurons",
    "TwoCompartment": "sandbox.neurons",
    "binary_inference": "sandbox.networks.binary_inference",
    "build": "sandbox.networks.build",
    "calibrate": "sandbox.networks.calibration",
    "compare": "sandbox.comparisons.comparison",
    "firing_report": "sandbox.networks.calibration",
    "from_brian2": "sandbox.reference",
    "from_brian2_synapses": "sandbox.reference",
    "from_nir": "sandbox.nir.importing",
    "inspect": "sandbox.inspection",
    "learnable": "sandbox.neurons",
    "load": "sandbox.runs.rows",
    "make_model": "sandbox.networks.models.making",
    "read_model": "sandbox.runs.trained",
    "recipe": "sandbox.config.published",
    "run": "sandbox.runs.run",
    "scan": "sandbox.simulation",
    "simulate": "sandbox.simulation",
    "simulate_circuit": "sandbox.circuits",
    "to_nir": "sandbox.nir.exporting",
    "validate": "sandbox.reference",
}
__all__ = [*_HOMES, "__version__"]
__getattr__, __dir__ = face(__name__, _HOMES)
