"""Networks as NIR graphs and back, with the meaning that each exporter gives to a graph.

Imports `machine`, `neurons`, `networks` and `synapses`; the package `nir` (an extra) only when a function is called.
"""

from sandbox.nir.distance import Distance, distance
from sandbox.nir.exporting import to_nir
from sandbox.nir.importing import from_nir
from sandbox.nir.schemes import SCHEMES, Scheme

__all__ = ["SCHEMES", "Distance", "Scheme", "distance", "from_nir", "to_nir"]
