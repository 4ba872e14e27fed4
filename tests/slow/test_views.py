"""Three views of SpikCommander beside each alone: what the committed evidence found, and a reduced run of it."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import torch

from sandbox.machine.files import read_json
from sandbox.statistics import interval
from tests.conftest import ROOT

SPEC = importlib.util.spec_from_file_location("evidence_views", ROOT / "experiments" / "views.py")
evidence = sys.modules["evidence_views"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(evidence)
KEPT = read_json(ROOT / "experiments" / "results" / "views.json")
FOUND, GAPS = KEPT["test accuracy [%]"], KEPT["differences [points]"]
PAGE = (ROOT / "docs" / "speech.md").read_text()


def test_paired_seeds_at_the_best_of_two_rates():
    assert FOUND.keys() == KEPT["learning rate"].keys() == evidence.VARIANTS.keys()
    for name, searched in KEPT["validation accuracy in the search [%]"].items():
        assert len(FOUND[name]) == evidence.SEEDS >= 3
        assert len(searched) == len(evidence.RATES) == 2
        assert searched[str(KEPT["learning rate"][name])] == max(searched.values())
    assert KEPT["settings"]["seed of the search"] not in range(evidence.SEEDS)
    assert KEPT["seconds of a core"] < 15 * 60


def test_the_record_is_of_these_settings_and_models():
    assert KEPT["settings"]["task"] == str(evidence.TASK)
    for name, count in KEPT["parameters"].items():
        assert count == sum(p.numel() for p in evidence.built(name, 0).parameters())
        assert KEPT["parameters that are used"][name] == evidence.used(name) <= count


def test_the_differences_follow_from_the_seeds():
    whole = FOUND[evidence.WHOLE]
    for name in FOUND.keys() - {evidence.WHOLE}:
        wanted = interval([a - b for a, b in zip(whole, FOUND[name], strict=True)])
        assert GAPS[f"{evidence.WHOLE} - {name}"] == pytest.approx(wanted._asdict(), abs=0.006)  # rounded
    assert evidence.differences(FOUND) == GAPS
    assert evidence.verdicts(GAPS) == KEPT["verdicts"]


def test_the_page_has_these_numbers():
    for name, values in FOUND.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells[1] == f"{KEPT['parameters that are used'][name]:,}"
        assert cells[2] == f"{sum(values) / len(values):.1f} %"
        if name != evidence.WHOLE:
            gap = GAPS[f"{evidence.WHOLE} - {name}"]
            assert cells[3] == f"{gap['mean']:.1f} points [{gap['low']:.1f}, {gap['high']:.1f}]"


def test_each_variant_computes_something_else():
    """From the same weights and the same input, where shapes agree."""
    x = (torch.rand(32, 4, 40, generator=torch.Generator().manual_seed(0)) < 0.15).float()
    found = {}
    for name in evidence.VARIANTS:
        torch.manual_seed(0)  # of units that are dropped
        found[name] = evidence.built(name, 0)(x).output
    names = list(found)
    assert not any(torch.equal(found[a], found[b]) for i, a in enumerate(names) for b in names[:i])


@pytest.mark.slow(minutes=1)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not os.environ.get("SANDBOX_DATA"), reason="needs the recordings: set SANDBOX_DATA")
@pytest.mark.parametrize("name", evidence.VARIANTS)
def test_a_short_run_is_above_chance(name):
    """Three epochs; chance is 10 %, and the margin is wide because training is short."""
    assert evidence.accuracy(name, 7, 0.03, "validation", epochs=3) > 50
