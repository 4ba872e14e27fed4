"""What `docs/results.md` says of the grid of six tasks, with three of its searches on one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sandbox.comparisons.grid import read_grid
from tests.slow.comparing import accuracies, run

pytestmark = pytest.mark.slow(minutes=0.5)
ROWS = ("bptt", "bptt window 1", "readout_only")


def test_store_recall_needs_credit_through_time(tmp_path):
    """The settings that searches of the preset found under Adam; all five give 85, 64 and 71 % on average."""
    (task,) = (each for each in read_grid("paper").comparisons if each.experiment.task.name == "store_recall")
    rules = [
        replace(rule, searched=rule.searched[:3])
        for rule in task.configs
        if rule.row in ROWS and rule.variant == "adam"
    ]
    found = accuracies(run(replace(task, rules=rules, seeds=3), tmp_path))
    bptt, short, frozen = (sum(found[f"{row} adam"]) / 3 for row in ROWS)
    assert bptt > frozen + 8
    assert short < bptt - 12
    assert short < frozen
