"""Three views of SpikCommander beside each alone: what the committed evidence found, and a reduced run of it."""

from __future__ import annotations

import os
from dataclasses import asdict

import pytest
import torch

from sandbox.machine.files import read_json
from sandbox.statistics import interval
from tests import scripts
from tests.conftest import ROOT

evidence = scripts.evidence("views")
KEPT = read_json(ROOT / "experiments" / "results" / "views.json")
FOUND, GAPS = KEPT["test accuracy [%]"], KEPT["differences [points]"]
PAGE = (ROOT / "docs" / "speech.md").read_text()


def test_paired_seeds_at_the_best_of_two_rates():
    assert KEPT["learning rate"].keys() == evidence.VARIANTS.keys()
    for name, searched in KEPT["validation accuracy in the search [%]"].items():
        assert len(searched) == len(evidence.RATES) == 2
        assert searched[str(KEPT["learning rate"][name])] == max(searched.values())
    for voices in evidence.TASKS:
        assert {name: len(each) for name, each in FOUND[voices].items()} == dict.fromkeys(evidence.VARIANTS, 5)
    assert evidence.SEEDS == 5
    assert KEPT["settings"]["seed of the search"] not in range(evidence.SEEDS)


def test_the_record_is_of_these_settings_and_models():
    assert KEPT["settings"]["tasks"] == {voices: asdict(task) for voices, task in evidence.TASKS.items()}
    for name, count in KEPT["parameters"].items():
        assert count == sum(p.numel() for p in evidence.built(name, 0).parameters())
        assert KEPT["parameters that are used"][name] == evidence.used(name) <= count


@pytest.mark.parametrize("voices", evidence.TASKS)
def test_the_differences_follow_from_the_seeds(voices):
    found = FOUND[voices]
    for name in found.keys() - {evidence.WHOLE}:
        wanted = interval([a - b for a, b in zip(found[evidence.WHOLE], found[name], strict=True)])
        assert GAPS[voices][f"{evidence.WHOLE} - {name}"] == pytest.approx(wanted._asdict(), abs=0.006)  # rounded
    assert evidence.differences(found) == GAPS[voices]
    assert evidence.verdicts(GAPS[voices]) == KEPT["verdicts"][voices]


def test_the_page_has_these_numbers():
    for name in evidence.VARIANTS:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        assert cells[0] == f"{KEPT['parameters that are used'][name]:,}"
        for place, voices in enumerate(evidence.TASKS):
            mean, better = cells[1 + 2 * place : 3 + 2 * place]
            assert mean == f"{sum(FOUND[voices][name]) / evidence.SEEDS:.1f} %"
            if name != evidence.WHOLE:
                gap = GAPS[voices][f"{evidence.WHOLE} - {name}"]
                assert better == f"{gap['mean']:.1f} [{gap['low']:.1f}, {gap['high']:.1f}]"


@pytest.mark.parametrize("voices", evidence.TASKS)
def test_three_views_are_not_shown_to_beat_one_alone_nor_context_a_plain_mlp(voices):
    """Expected was that they do."""
    for gap in GAPS[voices].values():
        assert gap["low"] < 0 < gap["high"]


@pytest.mark.parametrize("voices", evidence.TASKS)
def test_the_value_alone_is_the_best_on_average_with_the_fewest_parameters(voices):
    assert max(FOUND[voices], key=lambda name: sum(FOUND[voices][name])) == "value alone"
    counts = KEPT["parameters that are used"]
    assert min(counts, key=lambda name: counts[name]) == "value alone"


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
def test_a_short_run_is_above_chance(name, monkeypatch):
    """Three epochs; chance is 10 %, and the margin is wide because training is short. Loops run by kernels if any."""
    monkeypatch.setenv("SANDBOX_KERNELS", "auto")
    assert evidence.accuracy("known voices", name, 7, 0.03, "validation", epochs=3) > 50
