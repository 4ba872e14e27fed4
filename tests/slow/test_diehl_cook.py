"""Cells that compete learn digits without labels: the committed evidence, and a short run on the digits at hand."""

from __future__ import annotations

import pytest

from sandbox.machine.files import read_json
from sandbox.tasks.mnist import MNISTSample
from tests import scripts
from tests.conftest import ROOT

evidence = scripts.evidence("diehl_cook")
KEPT = read_json(evidence.KEPT)
PAGE = (ROOT / "docs" / "plasticity.md").read_text()


def test_figures_follow_from_the_seeds():
    found = {name: [rows[str(seed)] for seed in range(evidence.SEEDS)] for name, rows in KEPT["seeds"].items()}
    assert found.keys() == evidence.VARIANTS.keys()
    assert evidence.figures(found).items() <= KEPT.items()
    assert KEPT["settings"]["rule"] == evidence.LEARNING


def test_it_reaches_what_is_claimed():
    """Of three seeds on average; and more than the same network before learning, or without what makes it compete."""
    assert KEPT["accuracy [%]"]["STDP, assignment"]["mean"] >= evidence.WANTED
    for name, gap in KEPT["differences of assignment [points]"].items():
        assert gap["low"] > 0, name


def test_the_page_has_these_numbers():
    for name, each in KEPT["accuracy [%]"].items():
        assert f"{each['mean']:.1f} [{each['low']:.1f}, {each['high']:.1f}]" in PAGE, name


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("seed", [7, 8, 9])
def test_six_hundred_digits_once_are_enough_to_tell_most_apart(seed):
    """The evidence has 10,000 digits; before learning a third of the digits is right."""
    data = MNISTSample().load()
    found = evidence.accuracies(evidence.VARIANTS["STDP"], seed, data, 600)
    before = evidence.accuracies(evidence.VARIANTS["before learning"], seed, data, 600)
    assert found["assignment"] > 50
    assert found["assignment"] > before["assignment"] + 15
