"""Credit that arrives at dendrites: apart from the input that drives the soma.

Imports the contract, metering, the chains of `rules.models`, sites, and what settles; no other credit rule.
"""

from rules.credit.dendritic.burst import Burst
from rules.credit.dendritic.microcircuit import Microcircuit
from rules.credit.dendritic.urbanczik_senn import UrbanczikSenn

__all__ = ["Burst", "Microcircuit", "UrbanczikSenn"]
