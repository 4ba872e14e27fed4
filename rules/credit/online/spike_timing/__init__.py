"""Plasticity from pairs and triplets of spikes. Imports the layers of the online rules, diagnostics and metering."""

from rules.credit.online.spike_timing.escape import EscapeNoise
from rules.credit.online.spike_timing.modulated import RewardSTDP
from rules.credit.online.spike_timing.stdp import STDP
from rules.credit.online.spike_timing.window import Window

__all__ = ["STDP", "EscapeNoise", "RewardSTDP", "Window"]
