"""Learning from forward passes only: errors are measured by perturbing signals or weights.

Imports no other credit rule; `draws`, `sharing` and `steady` are used by both subpackages.
"""

from rules.credit.zero_order.flat.coordinate_wise import CoordinateWise
from rules.credit.zero_order.flat.evolution import EvolutionStrategy
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation
from rules.credit.zero_order.flat.spsa import SPSA
from rules.credit.zero_order.layered.hzo import HZO
from rules.credit.zero_order.layered.layerwise import LayerwiseZO
from rules.credit.zero_order.layered.sequential import SequentialLocal
from rules.credit.zero_order.layered.unitary import TowardsOrthogonal, orthogonal_

__all__ = [
    "HZO",
    "SPSA",
    "CoordinateWise",
    "EvolutionStrategy",
    "ForwardGradient",
    "LayerwiseZO",
    "NodePerturbation",
    "SequentialLocal",
    "TowardsOrthogonal",
    "orthogonal_",
]
