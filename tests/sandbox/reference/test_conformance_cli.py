"""`sandbox validate` for names, modules and files, with its exit codes and its page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, FOUND_WRONG, OK
from sandbox.cli.validation import equations
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


OTHERS = """
def step(current, state):
    v = 0.5 * (0.0 if state is None else state) + current
    spikes = (v > 1).double()
    return spikes, v - spikes, v - spikes


def made(strict=True):
    def step(current, state):
        v = 0.5 * (0.0 if state is None else state) + current
        spikes = ((v > 1) if strict else (v >= 1)).double()
        return spikes, v - spikes, v - spikes

    return step


class Cell:
    def __call__(self, current, state):
        return step(current, state)


class Sized(Cell):
    def __init__(self, beta, size):
        pass


def Own(tau, r=1.0):
    pass


number = lambda: 3
"""
AS = ["--as", "lif", "--as-options", "{tau_mem: 1.4426950408889634, r: 2.0, reset: subtract, strict: true}"]
STEPS = ["--dt", "1", "--duration", "60", "--cells", "4"]


@pytest.fixture
def others(tmp_path):
    file = tmp_path / "others.py"
    file.write_text(OTHERS)
    return file


@pytest.mark.parametrize("words", [["step"], ["made"], ["Cell"], ["made", "--options", "{strict: true}"]])
def test_a_step_is_validated_as_an_equation(words, others, capsys):
    assert main(["validate", f"{others}:{words[0]}", *words[1:], *AS, *STEPS]) == OK
    assert "agrees with LIF in Brian2" in capsys.readouterr().out


def test_a_wrong_step_sets_the_exit_code_and_has_a_page(others, tmp_path, capsys):
    page = tmp_path / "page.html"
    words = ["--options", "{strict: false}", *AS, *STEPS, "--html", str(page), "--json"]
    assert main(["validate", f"{others}:made", *words]) == FOUND_WRONG
    (facts,) = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in facts["checks"] if check["verdict"] == "FAIL"] == ["threshold at equality"]
    assert facts["tiers"] == ["step"]
    assert "step as LIF(" in page.read_text()


def test_a_module_of_the_current_folder_is_found(tmp_path, monkeypatch, capsys):
    (tmp_path / "cells_of_mine.py").write_text(OTHERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])  # as the console script has it
    assert main(["validate", "cells_of_mine:step", *AS, *STEPS]) == OK
    assert "step as LIF(" in capsys.readouterr().out


def test_a_step_may_be_said_to_be_what_can_be_compared():
    found = equations()
    assert {"lif", "adex", "multi_lif"} <= set(found)
    assert not {"escape_lif", "psn"} & set(found)


@pytest.mark.slow
def test_a_step_is_validated_by_a_process_of_its_own(others):
    from sandbox.cli.validation import validate_all
    from sandbox.config.registry import Choice

    names = [f"{others}:step", f"{others}:made"]
    equation = Choice("lif", {"tau_mem": 1.4426950408889634, "r": 2.0, "reset": "subtract", "strict": True})
    reports = validate_all({name: Choice(name) for name in names}, 2, equation=equation, dt=1.0, duration=50.0, cells=3)
    assert all(report.passed for report in reports.values())


def test_a_cell_of_a_library_needs_no_equation(capsys):
    pytest.importorskip("snntorch", reason="not installed: make peers")
    words = ["validate", "snntorch:Leaky", "--options", "{beta: 0.9}", *STEPS]
    assert main(words) == OK
    assert "snntorch.Leaky as LIF(tau_mem=9.49" in capsys.readouterr().out
    assert main([*words, "--as", "lif"]) == FOUND_WRONG


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lif", "--as", "lif"], "'lif' is a neuron of the sandbox, which is its own equation: leave --as out"),
        (["lif", "--as-options", "{r: 2.0}"], "--as-options are of the equation that --as names: add --as NAME"),
        (["all", "--as", "lif"], "--as is of one cell, and `all` are neurons of the sandbox: name the cell"),
        (["OTHERS:step", "--as", "liff"], "unknown neuron 'liff'; nearest: 'lif'"),
        (["OTHERS:number", "--as", "lif"], "number' makes a int, which is not a function step"),
        (["sandbox.neurons:LIF", "--as", "lif"], "makes a LIF, which is not a function step.* or leave --as out"),
        (
            ["OTHERS:Cell"],
            "Cell' is neither a neuron of the sandbox nor a cell of snntorch.* equation .* is, --as NAME, ",
        ),
        (
            ["OTHERS:step"],
            "step' is a step, and not its equation: say which equation .*, --as NAME, one of lif, cuba_lif,",
        ),
        (["OTHERS:Sized"], r"Sized' needs beta and size: give --options '\{beta: ..., size: ...\}'"),
        (["OTHERS:Sized", "--options", "{beta: 1}", *AS], r"Sized' needs size: give --options '\{size: ...\}'"),
        (["OTHERS:step", "--as", "OTHERS:Own"], r"Own' needs tau: give --as-options '\{tau: ...\}'"),
        (["snntorch.Leaky"], "unknown neuron 'snntorch.Leaky': write snntorch:Leaky, with a colon"),
        (["OTHERS"], r"is a file: say what in it, .*others.py:Name"),
        (["OTHERS:step", *AS, "--tiers", "limit"], "tiers=.'limit'. are of neurons of the sandbox: leave tiers out"),
        (["OTHERS:made", "--options", "{stric: true}", *AS], "unknown option of neuron .*'stric'"),
    ],
)
def test_bad_input_of_a_step_is_explained(words, message, others, capsys):
    assert main(["validate", *(word.replace("OTHERS", str(others)) for word in words)]) == BAD_INPUT
    assert re.search(message, capsys.readouterr().err)
