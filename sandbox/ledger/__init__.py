"""Costs of a network and its training: work by layer, and an estimate of its energy. Imports only rules."""

from rules.diagnostics.work import Work, work
from sandbox.ledger.bill import Bill, learning
from sandbox.ledger.energy import (
    CMOS_45NM,
    NEUROMC,
    SCHEDULES,
    Constants,
    Engines,
    Schedule,
    Synapses,
    Training,
    inference,
    training,
)

__all__ = [
    "CMOS_45NM",
    "NEUROMC",
    "SCHEDULES",
    "Bill",
    "Constants",
    "Engines",
    "Schedule",
    "Synapses",
    "Training",
    "Work",
    "inference",
    "learning",
    "training",
    "work",
]
