"""What e-prop with random feedback learns of cue accumulation, over three paired seeds."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.slow.comparing import accuracies, plan, run

pytestmark = [pytest.mark.slow(minutes=1.5), pytest.mark.timeout(1200)]


def test_random_feedback_learns_what_a_frozen_layer_and_a_short_window_do_not(tmp_path, monkeypatch):
    """100 of the 500 updates of `experiments/anchors.py`, in steps of 10 ms.

    After so few, which seed is how far hangs on the rounding of sums, which spikes amplify: e-prop had errors of 8 to 15
    with sums in one order, and of 19 to 35 in another, frozen layers 36 to 49. Without the trace of the adaptation, or
    with the feedback's sign turned, a seed had 45 and 47.
    """
    monkeypatch.chdir(ROOT)  # where the configuration finds its network
    rules = ("eprop", "window 10", "readout_only")
    found = accuracies(run(plan("published/cue_accumulation_bellec_10ms", rules, epochs=1), tmp_path))
    errors = {rule: [100 - accuracy for accuracy in found[rule]] for rule in rules}
    print(errors)
    mean = {rule: sum(each) / len(each) for rule, each in errors.items()}
    assert mean["eprop"] <= 32.0
    assert mean["readout_only"] >= mean["eprop"] + 6.0
    assert min(errors["readout_only"]) >= 25.0
    assert mean["window 10"] >= 25.0  # the spread is wide
