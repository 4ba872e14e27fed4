"""What a network and its training cost: work by layer, and the energy it stands for. Imports rules alone."""

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
