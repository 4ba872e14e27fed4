"""Plasticity from pairs and triplets of spikes. Imports sites, diagnostics and metering."""

from rules.credit.spike_timing.bcpnn import BCPNN
from rules.credit.spike_timing.escape import EscapeNoise
from rules.credit.spike_timing.homeostasis import Homeostasis
from rules.credit.spike_timing.modulated import RewardSTDP
from rules.credit.spike_timing.stdp import STDP
from rules.credit.spike_timing.voltage import Voltage
from rules.credit.spike_timing.window import Window

__all__ = ["BCPNN", "STDP", "EscapeNoise", "Homeostasis", "RewardSTDP", "Voltage", "Window"]
