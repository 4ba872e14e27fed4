"""Learning from forward passes alone: errors measured by perturbing signals or weights."""

from rules.credit.zero_order.coordinate_wise import CoordinateWise
from rules.credit.zero_order.evolution import EvolutionStrategy
from rules.credit.zero_order.forward_gradient import ForwardGradient
from rules.credit.zero_order.hzo import HZO
from rules.credit.zero_order.layerwise import LayerwiseZO
from rules.credit.zero_order.node_perturbation import NodePerturbation
from rules.credit.zero_order.sequential import SequentialLocal
from rules.credit.zero_order.spsa import SPSA
from rules.credit.zero_order.unitary import TowardsOrthogonal, orthogonal_

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
