"""The bill of a network and of its training: work counted layer by layer, and energy estimated from it."""

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
from sandbox.ledger.work import Work, work

__all__ = [
    "CMOS_45NM",
    "NEUROMC",
    "SCHEDULES",
    "Constants",
    "Engines",
    "Schedule",
    "Synapses",
    "Training",
    "Work",
    "inference",
    "training",
    "work",
]
