"""What an update would take on hardware for training: workloads, constants, estimates, and a chip of many cores.

Imports rules and ledger.
"""

from sandbox.hardware.constants import ANCHOR, HARDWARE, Hardware, Skips
from sandbox.hardware.cores import Chip, Simulation, simulate_chip, speed_up
from sandbox.hardware.measuring import measure
from sandbox.hardware.optimizers import OPTIMIZERS
from sandbox.hardware.plans import FAMILIES, PLANS, NoEstimate, Plan, plan_of
from sandbox.hardware.report import Entry, Report, estimate
from sandbox.hardware.workload import Layer, Workload

__all__ = [
    "ANCHOR",
    "FAMILIES",
    "HARDWARE",
    "OPTIMIZERS",
    "PLANS",
    "Chip",
    "Entry",
    "Hardware",
    "Layer",
    "NoEstimate",
    "Plan",
    "Report",
    "Simulation",
    "Skips",
    "Workload",
    "estimate",
    "measure",
    "plan_of",
    "simulate_chip",
    "speed_up",
]
