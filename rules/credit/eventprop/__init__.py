"""EventProp: exact gradients of spike times, event by event, and in time steps on layers of cells.

Imports the contract, sites, metering and diagnostics.
"""

from rules.credit.eventprop.events import peaks, spike_times, voltages
from rules.credit.eventprop.membrane import Membrane
from rules.credit.eventprop.rule import EventProp

__all__ = ["EventProp", "Membrane", "peaks", "spike_times", "voltages"]
