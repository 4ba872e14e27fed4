"""Spike-timing-dependent plasticity on devices: every pulse is counted, and what is asked for is written or carried."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.credit.spike_timing import STDP, Window
from tests.rules.plasticity.memristor.streams import STORES, STREAMS, require_conserved

WINDOW = Window(a_plus=1.7, a_minus=2.1, tau_plus=9.0, tau_minus=13.0, triplet_plus=0.8)
WHOLE = Window(a_plus=1.0, a_minus=2.0, tau_plus=1e18, tau_minus=1e18)  # traces count, and changes are whole numbers


@pytest.mark.parametrize(("window", "every", "apart"), [(WINDOW, None, 1), (WHOLE, None, 0), (WHOLE, 5, 0)])
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=10, deadline=None)
@given(streams=st.lists(STREAMS, min_size=1, max_size=4))
def test_what_spikes_ask_for_is_written_or_carried(store, window, every, apart, streams):
    """Each step rounds what a weight is asked for to a whole number beside it, at random; beyond that nothing is lost."""
    require_conserved(STDP(window), store, streams, every, apart)
