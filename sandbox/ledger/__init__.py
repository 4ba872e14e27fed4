"""Costs of a network and its training: work by layer, and an estimate of its energy. Imports only rules."""

from rules.diagnostics.work import Work, work
from sandbox.ledger.bill import Bill, learning
from sandbox.ledger.energy import CMOS_45NM, Constants, inference
from sandbox.ledger.primitives import PRIMITIVES, Primitives
from sandbox.ledger.training import NEUROMC, SCHEDULES, Engines, Schedule, Synapses, Training, of_layer, training

__all__ = [
    "CMOS_45NM",
    "NEUROMC",
    "PRIMITIVES",
    "SCHEDULES",
    "Bill",
    "Constants",
    "Engines",
    "Primitives",
    "Schedule",
    "Synapses",
    "Training",
    "Work",
    "inference",
    "learning",
    "of_layer",
    "training",
    "work",
]
