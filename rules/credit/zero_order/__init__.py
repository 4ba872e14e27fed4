"""Learning from forward passes alone: errors of layers, measured by perturbing signals."""

from rules.credit.zero_order.hzo import HZO
from rules.credit.zero_order.layerwise import LayerwiseZO
from rules.credit.zero_order.sequential import SequentialLocal
from rules.credit.zero_order.unitary import TowardsOrthogonal, orthogonal_

__all__ = ["HZO", "LayerwiseZO", "SequentialLocal", "TowardsOrthogonal", "orthogonal_"]
