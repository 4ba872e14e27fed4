"""The index lists ten thousand runs at once, and agrees with the folders."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest
import yaml

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.experiment import RuleConfig
from sandbox.runs import index
from sandbox.runs.book import RunFailed
from sandbox.runs.run import run
from tests.sandbox.runs.test_run import TINY, Stop
from tests.sandbox.runs.test_run import _stop as stop

MANY = 10_000


def told(root):
    return [{k: v for k, v in row.items() if k != "updated"} for row in index.rows(root)]


def fill(root, number):
    found = [
        index.Row(
            *(f"r{n:05}", ("yinyang", "digits")[n % 2], ("bptt", "spsa")[n // 2 % 2], n // 4, "done", n / number),
            measure="accuracy",
            test=n / number,
        )
        for n in range(number)
    ]
    with closing(sqlite3.connect(root / index.NAME)) as connection, connection:
        connection.execute(index.SCHEMA)
        connection.executemany(index.INSERT, found)
    return found


def test_ten_thousand_runs_are_listed_and_filtered_in_half_a_second(tmp_path, capsys):
    """None of their folders exists, so that a listing that looked for them would find nothing."""
    fill(tmp_path, MANY)
    begun = time.perf_counter()
    assert len(index.rows(tmp_path)) == MANY
    assert len(index.rows(tmp_path, rule="bptt", task="digits", status="done")) == MANY // 4
    assert time.perf_counter() - begun < 0.5
    begun = time.perf_counter()
    assert main(["list", "runs", "--rule", "spsa", "--out", str(tmp_path)]) == OK
    assert time.perf_counter() - begun < 0.5 + 1.0  # of which a second is the parser's
    assert capsys.readouterr().out.count("\n") == MANY // 2


def test_an_index_is_rebuilt_from_the_folders_alone(tmp_path):
    run(TINY, tmp_path / "a")
    with pytest.raises(Stop):
        run(TINY, tmp_path / "b", progress=stop)
    with pytest.raises(RunFailed):
        run(replace(TINY, rule=RuleConfig("bptt", {"lr": 3e37}), epochs=20), tmp_path / "c")
    compare(Comparison(replace(TINY, epochs=1), ["readout_only"], seeds=1), tmp_path / "d")
    before = told(tmp_path)
    assert sorted(row["status"] for row in before) == ["done", "done", "failed", "running"]
    (tmp_path / index.NAME).unlink()
    assert index.rows(tmp_path) == []
    assert index.rebuild(tmp_path) == {"running": 1, "done": 2, "failed": 1, "damaged": 0}
    assert told(tmp_path) == before
    (tmp_path / "a" / "result.json").write_text("{half")
    (tmp_path / "b" / "config.yaml").write_text("[")
    shutil.rmtree(tmp_path / "c")
    assert index.rebuild(tmp_path) == {"running": 0, "done": 1, "failed": 0, "damaged": 2}
    found = {row["folder"]: row for row in told(tmp_path)}
    assert found["a"]["rule"] == "bptt"
    assert found["b"]["rule"] is None


def test_a_failed_run_that_is_taken_up_again_has_not_failed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "error.txt").write_text("disk full")
    run(TINY, tmp_path / "a")
    assert not (tmp_path / "a" / "error.txt").exists()


@pytest.mark.slow
def test_ten_thousand_folders_are_read_anew(tmp_path):
    found = fill(tmp_path, MANY)
    for row in found:
        folder = tmp_path / row.folder
        folder.mkdir()
        config = {"format": 1, "kind": "run", "task": {"name": row.task}, "rule": {"name": row.rule}, "seed": row.seed}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "result.json").write_text(json.dumps({"test": {"accuracy": row.test_accuracy}}))
    before = told(tmp_path)
    index.rebuild(tmp_path)
    assert told(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "runs", "--status", "don"], "unknown status 'don'; nearest: 'done'; valid: running, done"),
        (["list", "rules", "--rule", "bptt"], "--rule chooses among runs: write `sandbox list runs --rule bptt`"),
        (["index", "--rebuild", "--out", "nowhere"], "nowhere is not a folder; name the one that holds the runs"),
    ],
)
def test_bad_input_is_answered(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_an_index_of_an_earlier_version_gets_the_columns_it_lacks(tmp_path):
    with closing(sqlite3.connect(tmp_path / index.NAME)) as connection, connection:
        connection.execute(
            "CREATE TABLE runs (folder TEXT PRIMARY KEY, task TEXT, rule TEXT, seed INTEGER, status TEXT, "
            "test_accuracy REAL, updated TEXT DEFAULT CURRENT_TIMESTAMP)"
        )
        connection.execute("INSERT INTO runs VALUES ('old', 'yinyang', 'bptt', 0, 'done', 0.5, '')")
    (old,) = told(tmp_path)
    assert (old["test_accuracy"], old["measure"], old["test"]) == (0.5, None, None)
    (tmp_path / "new").mkdir()
    index.record(tmp_path / "new", TINY, "done", {"accuracy": 0.75, "loss": 1.0})
    new, old = told(tmp_path)
    assert (new["test_accuracy"], new["measure"], new["test"], old["test_accuracy"]) == (0.75, "accuracy", 0.75, 0.5)
