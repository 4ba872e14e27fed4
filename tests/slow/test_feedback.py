"""What feedback without weight transport is worth on MNIST-1D behind three hidden layers, over two paired seeds."""

from __future__ import annotations

import pytest

from sandbox.statistics import paired
from tests.slow.comparing import accuracies, plan, run

pytestmark = [pytest.mark.slow(minutes=2), pytest.mark.timeout(1200)]


def test_hidden_layers_learn_without_the_transposed_weights(tmp_path):
    """B6.a, a shorter run of `experiments/feedback_mnist1d.yaml`."""
    rules = ("bptt", "weight_mirror", "frsf", "fa", "dfa", "readout_only")
    found = accuracies(run(plan("feedback_mnist1d", rules, seeds=2, epochs=6), tmp_path))
    over = {rule: paired(found[rule], found["readout_only"]).difference.mean for rule in rules[:-1]}
    print(over)
    assert min(over["weight_mirror"], over["frsf"]) >= 10.0  # 23.1 and 22.8 over six seeds of twelve epochs
    assert min(over["fa"], over["dfa"]) >= 3.0  # 11.3 and 14.4
    assert over["bptt"] > max(over["fa"], over["dfa"])
