"""Both views of simulated attention beside one: the committed evidence, and a short run of it."""

from __future__ import annotations

import pytest

from sandbox.machine.files import read_json
from tests import scripts
from tests.conftest import ROOT

evidence = scripts.evidence("attention_eeg")
KEPT = read_json(ROOT / "experiments" / "results" / "attention_eeg" / "evidence.json")
LONGER = read_json(ROOT / "experiments" / "results" / "attention_eeg" / "longer.json")
FOUND, GAPS = KEPT["test accuracy [%]"], KEPT["differences [points]"]
PAGE = (ROOT / "docs" / "brain_signals.md").read_text()


def test_three_paired_seeds_at_the_best_of_three_rates():
    assert FOUND.keys() == KEPT["learning rate"].keys() == evidence.VARIANTS.keys()
    for name, searched in KEPT["validation accuracy in the search [%]"].items():
        assert len(FOUND[name]) == 3
        assert len(searched) == 3
        assert searched[str(KEPT["learning rate"][name])] == max(searched.values())
    assert KEPT["settings"]["seed of the search"] not in range(3)
    assert KEPT["seconds of a core"] < 12 * 60
    assert LONGER["epochs"] == evidence.MORE_EPOCHS


def test_the_record_is_of_these_settings_and_models():
    assert KEPT["settings"]["task"] == str(evidence.AttentionEEG(**evidence.TASK))
    for name, count in KEPT["parameters"].items():
        assert count == sum(p.numel() for p in evidence.built(name, 0).parameters())


def test_differences_and_verdicts_are_those_of_the_accuracies():
    assert evidence.differences(FOUND) == GAPS
    assert evidence.verdicts(GAPS) == KEPT["claims"]
    better = [max(each) for each in zip(FOUND["spatial view"], FOUND["frequency view"], strict=True)]
    mean = sum(a - b for a, b in zip(FOUND["both views"], better, strict=True)) / 3
    assert GAPS["both views - the better single view"]["mean"] == pytest.approx(mean, abs=0.006)  # rounded


def test_the_page_has_these_numbers():
    for name, values in FOUND.items():
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        assert cells[1] == f"{KEPT['parameters'][name]:,}"
        assert cells[2] == str(KEPT["learning rate"][name])
        assert cells[3] == ", ".join(f"{value:.1f}" for value in values)
        assert cells[5] == f"{LONGER['test accuracy [%]'][name]:.1f}"
        if name != "both views":
            gap = GAPS[f"both views - {name}"]
            assert cells[4] == f"{gap['mean']:.1f} [{gap['low']:.1f}, {gap['high']:.1f}]"
    gap = GAPS["both views - the better single view"]
    assert f"{gap['mean']:.1f} points [{gap['low']:.1f}, {gap['high']:.1f}]" in PAGE


def test_each_view_tells_something_of_its_own():
    """Linear models of both views are ahead of those of each, on average: three seeds of 500 windows."""
    linear = KEPT["logistic regression [%]"]
    assert linear.keys() == {"0", "1", "2"}
    mean = {view: sum(each[view] for each in linear.values()) / 3 for view in ("spatial", "frequency", "both")}
    assert min(mean["spatial"], mean["frequency"]) > 65
    assert mean["both"] > max(mean["spatial"], mean["frequency"])


@pytest.mark.slow(minutes=2)
@pytest.mark.filterwarnings("ignore")
def test_a_short_run_is_above_chance():
    """The spatial view for two epochs; five standard errors of 500 windows are 11 points."""
    assert evidence.accuracy("spatial view", 7, 0.01, 2) > 61
