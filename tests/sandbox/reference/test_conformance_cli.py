"""`sandbox validate` for names, modules and files, with its exit codes and its page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FOUND_WRONG, OK
from sandbox.config.registry import find

BROKEN = Path(__file__).parent / "broken_neurons.py"
SHORT = ["--duration", "30", "--cells", "2", "--tiers", "[same_scheme]"]


@pytest.mark.slow
def test_a_neuron_in_a_file_is_validated_and_its_page_written(tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("from sandbox import LIF\n\n\nclass Mine(LIF):\n    pass\n")
    assert main(["validate", f"{file}:Mine", *SHORT, "--html", str(tmp_path / "page.html")]) == OK
    assert "agrees with Brian2" in capsys.readouterr().out
    assert "1 of 1 neurons agree" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"{BROKEN}:Sloppy", "tests.sandbox.reference.broken_neurons:Sloppy"])
def test_a_wrong_neuron_sets_the_exit_code(name, capsys):
    assert main(["validate", name, *SHORT, "--json"]) == FOUND_WRONG
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["passed"] is False
    assert facts["tiers"] == ["same_scheme"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.py:Mine"], "cannot be loaded .*missing.py"),
        ([f"{BROKEN}:Nobody"], "cannot be loaded .*Nobody"),
        (["lif", "--tiers", "[limits]"], "unknown tier 'limits'; nearest: 'limit'"),
        ([f"{BROKEN}:WrongUnit", *SHORT], "Brian2 refuses WrongUnit"),
    ],
)
def test_bad_input_is_explained(words, message, capsys):
    assert main(["validate", *words]) == BAD_INPUT
    assert re.search(message, capsys.readouterr().err)


def test_a_file_is_loaded_once():
    assert find("neuron", f"{BROKEN}:Sloppy") is find("neuron", f"{BROKEN}:Sloppy")
