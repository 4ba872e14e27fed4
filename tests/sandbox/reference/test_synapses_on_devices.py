"""Compiled synapses on devices: every pulse is counted, and what is asked for is written or carried."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.reference import from_brian2_synapses
from tests.rules.plasticity.memristor.streams import STORES, STREAMS, require_conserved
from tests.sandbox.reference.synaptic_models import PAIR, PAIR_TIMES

COUNTS = from_brian2_synapses("w : 1\nx : 1\ny : 1", "v_post += w; x += 1; w -= 2 * y", "y += 1; w += x")
BOUNDED = from_brian2_synapses(
    PAIR, "Apre += 1; w = clip(w - Apost, -9, 9)", "Apost += 1; w = clip(w + Apre, -9, 9)", namespace=PAIR_TIMES
)


@pytest.mark.parametrize(("rule", "every", "apart"), [(COUNTS, None, 0), (COUNTS, 5, 0), (BOUNDED, None, 1)])
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=10, deadline=None)
@given(streams=st.lists(STREAMS, min_size=1, max_size=4))
def test_what_spikes_ask_for_is_written_or_carried(store, rule, every, apart, streams):
    """Changes of whole numbers exactly; others to the rounding of each step."""
    require_conserved(rule, store, streams, every, apart)
