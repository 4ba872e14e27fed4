"""What e-prop with random feedback learns of cue accumulation, and a frozen hidden layer does not, over three paired seeds."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.slow.comparing import accuracies, plan, run

pytestmark = [pytest.mark.slow(minutes=1.5), pytest.mark.timeout(1200)]
NAME = "published/cue_accumulation_bellec_10ms"


def test_random_feedback_learns_what_a_frozen_layer_and_a_short_window_do_not(tmp_path, monkeypatch):
    """100 of the 500 updates of `experiments/anchors.py`, in steps of 10 ms."""
    monkeypatch.chdir(ROOT)  # where the configuration finds its network
    found = accuracies(run(plan(NAME, ("eprop", "window 10", "readout_only"), epochs=1), tmp_path))
    print(found)
