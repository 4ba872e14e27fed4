"""What the command line prints of others, and how it answers broken files."""

from __future__ import annotations

import json
import time
import unicodedata

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.ranking import format_overall
from sandbox.comparisons.table import format_table
from tests.sandbox.machine.test_plain_yaml import BOMB
from tests.sandbox.report import folders
from tests.sandbox.runs.places import make
from tests.speed import within

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202eevil\nerror: forged\r"


def hidden(text):
    return {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs")} - {"\n"}


def test_tables_are_one_line_a_row():
    table = folders.table(HOSTILE)
    table["rows"][0] |= {"rule": HOSTILE, "verdict": HOSTILE, "health": [HOSTILE]}
    table |= {"damaged": {HOSTILE: HOSTILE}, "unfit": {HOSTILE: HOSTILE}, "revisions": {HOSTILE: 1, "b": 2}}
    printed = format_table(table)
    assert hidden(printed) == set()
    assert not any(line.startswith("error: forged") for line in printed.split("\n"))


def test_rankings_are_one_line_a_row(tmp_path):
    overall = folders.write_grid(tmp_path / "g")
    overall["tasks"] = dict.fromkeys(overall["tasks"], HOSTILE)
    overall["rows"][0] |= {"rule": HOSTILE, "verdict": HOSTILE}
    overall |= {"not_on_all": [HOSTILE], "at_chance": [HOSTILE]}
    printed = format_overall(overall)
    assert hidden(printed) == set()
    assert not any(line.startswith("error: forged") for line in printed.split("\n"))


def test_lists_of_runs_show_what_is_hidden(tmp_path, capsys):
    make(tmp_path / "runs" / HOSTILE)
    assert main(["list", "runs", "--out", str(tmp_path / "runs")]) == OK
    said = capsys.readouterr().out
    assert hidden(said) == set()
    assert r"\x1b]0;owned\x07\x1b[2J\u202eevil\nerror: forged\r" in said


def test_errors_show_what_is_hidden(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text(f"kind: run\nformat: 3\ntask: {{name: {json.dumps(HOSTILE)}}}\n")
    assert main(["resume", str(tmp_path)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert hidden(said) == set()
    assert "evil" in said


BROKEN = {
    "empty": ("", "damaged|holds no comparison"),
    "a list": ("[1, 2]", "damaged|holds no comparison"),
    "a word": ("word", "damaged|holds no comparison"),
    "broken": ("a: b: c", "is not valid YAML"),
    "NUL": ("a: \0", "is not valid YAML"),
    "a tag": ("kind: !!python/object/apply:os.system [touch PWNED]", "is not valid YAML"),
    "no kind": ("format: 3\nseed: 1", "damaged|unknown key"),
    "unknown kind": ("format: 3\nkind: other", "damaged|unknown key"),
    "kind is a list": ("format: 3\nkind: [run]", "damaged|unknown key"),
    "format is a word": ("format: x\nkind: run", "damaged|unknown key"),
    "half": ("format: 3\nkind: run\ntask: {name: yin", "is not valid YAML"),
    "a bomb": (BOMB, "holds more than 200000 values"),
    "deep": ("[" * 100_000, "is nested more than 100 deep"),
    "comparisons is a word": ("name: x\ncomparisons: y", "damaged|give a list"),
}


@pytest.mark.parametrize("command", ["resume", "report", "tune", "run", "compare", "table"])
@pytest.mark.parametrize("what", BROKEN)
def test_broken_configurations_are_named(tmp_path, monkeypatch, capsys, what, command):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / ".lock").touch()
    text, message = BROKEN[what]
    path = folder / "config.yaml"
    path.write_text(text)
    words = {"resume": [str(folder)], "report": [str(folder)], "table": [str(folder)], "tune": [str(path)]}
    given = words.get(command, ["--config", str(path)])
    begun = time.perf_counter()
    code = main([command, *given, *(["--out", "runs"] if command in ("tune", "run", "compare") else [])])
    assert within(time.perf_counter() - begun, 5.0)
    said = capsys.readouterr().err
    assert code == BAD_INPUT, said
    assert "Traceback" not in said
    assert not (tmp_path / "PWNED").exists()
    assert not (tmp_path / "runs").exists()
    if command in ("resume", "report"):
        assert str(path) in said or str(folder) in said
        assert any(part in said for part in message.split("|"))


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, "{", "\xff", "null", '{"a": 1e999}', ""])
@pytest.mark.parametrize("name", ["table.json", "provenance.json"])
def test_broken_json_is_named(tmp_path, capsys, content, name):
    folders.write_grid(tmp_path / "g")
    path = tmp_path / "g" / ("overall.json" if name == "table.json" else name)
    path.write_bytes(content.encode("latin-1"))
    code = main(["report", str(tmp_path / "g")])
    said = capsys.readouterr().err
    if content == '{"a": 1e999}' and name == "provenance.json":
        assert code == OK  # an infinity is shown as it is
    else:
        assert code == BAD_INPUT
        assert str(path) in said
