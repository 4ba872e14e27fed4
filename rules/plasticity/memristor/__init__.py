"""Weights held in memristive devices: step laws, measured presets, stores with carry, and the optimizer.

Imports the contract and its optional clauses.
"""

from rules.plasticity.memristor.cell import Cell
from rules.plasticity.memristor.device import Device
from rules.plasticity.memristor.laws import ConstantStep, ExponentialStep, LinearStep, PowerStep, SoftBounds
from rules.plasticity.memristor.optimizer import MemristorOptimizer
from rules.plasticity.memristor.pair import DifferentialPair
from rules.plasticity.memristor.presets import DEVICES
from rules.plasticity.memristor.recipe import Memristor
from rules.plasticity.memristor.stores import STORES, AccumulateAndCarry, Direct, Positional, WeightStore

__all__ = [
    "DEVICES",
    "STORES",
    "AccumulateAndCarry",
    "Cell",
    "ConstantStep",
    "Device",
    "DifferentialPair",
    "Direct",
    "ExponentialStep",
    "LinearStep",
    "Memristor",
    "MemristorOptimizer",
    "Positional",
    "PowerStep",
    "SoftBounds",
    "WeightStore",
]
