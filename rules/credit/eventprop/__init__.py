"""EventProp: exact gradients of spike times, event by event, and in time steps on layers of cells.

Imports the contract, diagnostics and sites.
"""

from rules.credit.eventprop.events import peaks, spike_times, voltages
from rules.credit.eventprop.membrane import Membrane

__all__ = ["Membrane", "peaks", "spike_times", "voltages"]
