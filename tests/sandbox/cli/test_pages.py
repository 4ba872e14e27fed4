"""The pages of the neurons are generated from their code."""

from __future__ import annotations

import json

import pytest

from sandbox.cli import main
from sandbox.cli.pages import page
from sandbox.neurons import NEURONS
from tests.conftest import ROOT


@pytest.mark.parametrize("name", NEURONS)
def test_the_committed_page_is_the_generated_one(name):
    assert (ROOT / f"docs/neurons/{name}.md").read_text() == page(name, NEURONS[name]), "run `make docs`"


def test_there_is_no_page_without_a_neuron():
    assert {path.stem for path in (ROOT / "docs/neurons").glob("*.md")} == set(NEURONS)


def test_a_page_has_equations_parameters_units_and_source():
    text = page("adex", NEURONS["adex"])
    for part in (
        "Brette & Gerstner 2005",
        "| `tau_w` | `144.0` | ms | above `0.0` |",
        "reset: v = v_reset; w += b",
        "| `bursting` | 0.21 |",
    ):
        assert part in text


def test_the_list_can_be_narrowed_and_written(tmp_path, capsys):
    assert main(["list", "neurons"]) == 0
    assert "hodgkin_huxley" in capsys.readouterr().out
    assert main(["list", "neurons", "--folder", str(tmp_path / "pages"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == sorted(NEURONS)
    assert (tmp_path / "pages" / "lif.md").exists()
    assert main(["list", "tasks", "--markdown"]) == 0
    assert "# YinYang" in capsys.readouterr().out


def test_an_unknown_kind_is_refused(capsys):
    assert main(["list", "nuerons"]) == 2
    assert "unknown kind 'nuerons'; nearest: 'neuron'" in capsys.readouterr().err
