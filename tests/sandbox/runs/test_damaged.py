"""Damaged folders are named in a sentence, by every command that reads them."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

import sandbox
from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT
from sandbox.runs.run import run
from tests.sandbox.runs.test_run import TINY


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    run(replace(TINY, epochs=1), place / "r")
    return place


@pytest.fixture
def runs(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    return tmp_path / "runs"


def test_a_line_that_is_being_written_is_left_out(runs):
    path = runs / "r" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"epoch": 2, "tr')
    (runs / "r" / "result.json").unlink()  # nothing is written after the result
    assert len(sandbox.load(runs)) == 2


@pytest.mark.parametrize(
    ("name", "text"), [("metrics.jsonl", "{\n"), ("config.yaml", ""), ("result.json", "{}"), ("config.yaml", "kind: x")]
)
def test_rows_name_the_damaged_run(runs, name, text):
    (runs / "r" / name).write_text(text)
    with pytest.raises(ValueError, match=r"runs/r is damaged .*; remove it and run again"):
        sandbox.load(runs)


@pytest.mark.parametrize("command", ["report", "resume"])
@pytest.mark.parametrize("text", ["", "seed: 1", "format: abc\nkind: run"])
def test_commands_answer_in_a_sentence(runs, text, command, capsys):
    path = runs / "r" / "config.yaml"
    path.write_text(text)
    assert main([command, str(runs / "r")]) == BAD_INPUT
    assert f"{path} is damaged: it does not say which kind of folder this is" in capsys.readouterr().err


def test_a_run_without_a_curve_has_no_report(runs, capsys):
    (runs / "r" / "metrics.jsonl").write_text("")
    assert main(["report", str(runs / "r")]) == BAD_INPUT
    assert "metrics.jsonl is empty, so that" in capsys.readouterr().err
