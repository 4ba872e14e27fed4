"""What is taught, to whom, and how it is judged: neurons checked against Brian2, networks, tasks, comparisons of rules.

Imports `rules`. What stands here is public; every other module is internal, and may move, but for those that README
and documentation name.
"""

from typing import TYPE_CHECKING

from sandbox.machine.packages import require_own_rules

require_own_rules()  # before anything is taken from it

from rules.lazy import face  # noqa: E402

if TYPE_CHECKING:
    from sandbox.microscope import Microscope as Microscope
    from sandbox.networks.build import build as build
    from sandbox.networks.calibration import calibrate as calibrate
    from sandbox.networks.calibration import firing_report as firing_report
    from sandbox.networks.network import Layer as Layer
    from sandbox.networks.network import Network as Network
    from sandbox.networks.network import Population as Population
    from sandbox.networks.network import Residual as Residual
    from sandbox.networks.noisy import NoisyReadout as NoisyReadout
    from sandbox.neurons import LIF as LIF
    from sandbox.neurons import NEURONS as NEURONS
    from sandbox.neurons import LeakyIntegrator as LeakyIntegrator
    from sandbox.neurons import Learned as Learned
    from sandbox.neurons import LIFState as LIFState
    from sandbox.neurons import Neuron as Neuron
    from sandbox.neurons import learnable as learnable
    from sandbox.reference import CompiledNeuron as CompiledNeuron
    from sandbox.reference import ConformanceReport as ConformanceReport
    from sandbox.reference import from_brian2 as from_brian2
    from sandbox.reference import validate as validate
    from sandbox.simulation import Trajectory as Trajectory
    from sandbox.simulation import scan as scan
    from sandbox.simulation import simulate as simulate
    from sandbox.tasks import TASKS as TASKS

_HOMES = {
    "LIF": "sandbox.neurons",
    "NEURONS": "sandbox.neurons",
    "TASKS": "sandbox.tasks",
    "CompiledNeuron": "sandbox.reference",
    "ConformanceReport": "sandbox.reference",
    "LIFState": "sandbox.neurons",
    "Layer": "sandbox.networks.network",
    "LeakyIntegrator": "sandbox.neurons",
    "Learned": "sandbox.neurons",
    "Microscope": "sandbox.microscope",
    "Network": "sandbox.networks.network",
    "Neuron": "sandbox.neurons",
    "NoisyReadout": "sandbox.networks.noisy",
    "Population": "sandbox.networks.network",
    "Residual": "sandbox.networks.network",
    "Trajectory": "sandbox.simulation",
    "build": "sandbox.networks.build",
    "calibrate": "sandbox.networks.calibration",
    "firing_report": "sandbox.networks.calibration",
    "from_brian2": "sandbox.reference",
    "learnable": "sandbox.neurons",
    "scan": "sandbox.simulation",
    "simulate": "sandbox.simulation",
    "validate": "sandbox.reference",
}
__all__ = list(_HOMES)
__getattr__, __dir__ = face(__name__, _HOMES)
