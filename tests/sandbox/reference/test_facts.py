"""What is seen of a cell from outside is what the cell was made with."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import LIF
from sandbox.reference.conformance.facts import facts_of
from sandbox.reference.conformance.stepping import respond
from tests.sandbox.reference.other_cells import DT, TAU, cell

NEURON = LIF(tau_mem=TAU)


@settings(deadline=None, max_examples=40)
@given(
    kept=st.floats(0.05, 1.0),
    gain=st.floats(0.01, 5.0),
    threshold=st.floats(0.1, 50.0),
    strict=st.booleans(),
    reset=st.sampled_from(["to_value", "subtract"]),
    to=st.floats(-1.0, 0.8),
    silent=st.integers(0, 5),
    shown=st.sampled_from(["after", "before"]),
    delayed=st.booleans(),
)
def test_facts_are_what_the_cell_was_made_with(kept, gain, threshold, strict, reset, to, silent, shown, delayed):
    to = to * threshold
    made = cell(gain, kept, threshold, strict, reset, to, silent=silent, shown=shown, delayed=delayed)
    found = facts_of(made, LIF(tau_mem=TAU, v_threshold=threshold, v_reset=min(to, 0.0)), DT)
    assert found.latency == int(delayed)
    assert found.gain == pytest.approx(gain)
    assert found.kept == pytest.approx(kept, abs=1e-5)
    assert found.fires_at == (">" if strict else ">="), found
    assert found.threshold == pytest.approx(threshold)
    assert found.shown == shown
    assert found.reset == reset
    amount = to if reset == "to_value" else threshold - to
    assert found.amount == pytest.approx(amount, rel=1e-4, abs=1e-4 * threshold)
    assert found.spikes_per_step == 1
    assert found.refractory >= silent
    assert found.delay in (0, None)


def test_facts_on_their_own():
    found = facts_of(cell(reset="subtract", shown="before", silent=2), NEURON, DT)
    assert (found.shown, found.reset, found.refractory, found.latency, found.delay) == ("before", "subtract", 2, 0, 0)
    assert found.why("nothing") == "it could not be seen"
    assert found.amount == pytest.approx(1.0)
    silent = facts_of(lambda current, state: (0 * current, 0 * current, 0), NEURON, DT)
    assert silent.fires_at is None
    assert "did not make it fire" in silent.why("fires_at")


def test_a_run_begins_at_none():
    seen = []

    def step(current, state):
        seen.append(state)
        return current, len(seen)

    respond(step, torch.zeros(3, 2))
    assert seen == [None, 1, 2]
