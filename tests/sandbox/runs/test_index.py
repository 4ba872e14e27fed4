"""The index saves reading folders and is never needed: it agrees with them, or gives way to them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import replace

import pytest

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.rule import RuleConfig
from sandbox.runs import index
from sandbox.runs.book import RunFailed
from sandbox.runs.run import run
from tests.sandbox.runs.places import make, many
from tests.sandbox.runs.test_run import TINY, Stop
from tests.sandbox.runs.test_run import _stop as stop
from tests.speed import within

MANY = 2_000


def told(root):
    return index.rows(root)


def statuses(root):
    return {row["folder"]: row["status"] for row in index.rows(root)}


@pytest.fixture(autouse=True)
def fresh_warnings():
    index._told.clear()


def test_thousands_of_runs_are_listed_and_filtered_quickly(tmp_path, capsys):
    """A hundred thousand of them are in `benchmarks/listing.py`."""
    many(tmp_path, MANY)
    index.rebuild(tmp_path)
    begun = time.perf_counter()
    assert len(index.rows(tmp_path)) == MANY
    assert len(index.rows(tmp_path, rule="bptt", task="digits", status="done")) == MANY // 4
    assert within(time.perf_counter() - begun, 0.5)
    assert main(["list", "runs", "--rule", "spsa", "--out", str(tmp_path)]) == OK
    assert capsys.readouterr().out.count("\n") == MANY // 2


def test_an_index_is_rebuilt_from_the_folders_alone(tmp_path):
    run(TINY, tmp_path / "a")
    with pytest.raises(Stop):
        run(TINY, tmp_path / "b", progress=stop)
    with pytest.raises(RunFailed):
        run(replace(TINY, rule=RuleConfig("bptt", {"lr": 3e37}), epochs=20), tmp_path / "c")
    compare(Comparison(replace(TINY, epochs=1), ["readout_only"], seeds=1), tmp_path / "d")
    before = told(tmp_path)
    assert sorted(row["status"] for row in before) == ["done", "done", "failed", "stopped"]
    (tmp_path / index.NAME).unlink()
    assert told(tmp_path) == before
    count = {"running": 0, "stopped": 1, "done": 2, "failed": 1, "refused": 0, "damaged": 0}
    assert index.rebuild(tmp_path) == count
    assert told(tmp_path) == before
    (tmp_path / "a" / "result.json").write_text("{half")
    (tmp_path / "b" / "config.yaml").write_text("[")
    shutil.rmtree(tmp_path / "c")
    seen = told(tmp_path)
    assert index.rebuild(tmp_path) == {**count, "stopped": 0, "done": 1, "failed": 0, "damaged": 2}
    assert told(tmp_path) == seen
    found = {row["folder"]: row for row in seen}
    assert found["a"]["rule"] == "bptt"
    assert found["b"]["rule"] is None


def test_folders_that_are_copied_moved_changed_or_removed_are_noticed(tmp_path):
    for name in "abcd":
        make(tmp_path / name, {"accuracy": 0.5})
    index.rebuild(tmp_path)
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    (tmp_path / "b").rename(tmp_path / "moved")
    make(tmp_path / "c", {"accuracy": 0.25})
    shutil.rmtree(tmp_path / "d")
    make(tmp_path / "e")
    rows = {row["folder"]: (row["status"], row["test_accuracy"]) for row in index.rows(tmp_path)}
    done = ("done", 0.5)
    assert rows == {"a": done, "copy": done, "moved": done, "c": ("done", 0.25), "e": ("stopped", None)}


def test_a_linked_run_is_listed_and_links_in_a_circle_end(tmp_path):
    make(tmp_path / "disk" / "far", {"accuracy": 0.5})
    root = tmp_path / "runs"
    root.mkdir()
    (root / "near").symlink_to(tmp_path / "disk" / "far")
    (root / "round").symlink_to(root)
    assert statuses(root) == {"near": "done"}
    index.rebuild(root)
    assert statuses(root) == {"near": "done"}


def test_a_folder_of_other_software_is_no_damaged_run(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("theirs: [1, 2]\n")
    make(tmp_path / "other" / "mine", {"accuracy": 1.0})
    assert statuses(tmp_path) == {"other/mine": "done"}


@pytest.mark.parametrize("name", ["[a]", "{b: 1}", "null", "1"])
def test_a_name_that_is_no_word_is_damage(tmp_path, name):
    make(tmp_path / "r", {"accuracy": 0.5}, rule=name)
    assert statuses(tmp_path) == {"r": "damaged"}
    index.rebuild(tmp_path)
    assert statuses(tmp_path) == {"r": "damaged"}


@pytest.mark.parametrize("value", [7.0, -0.5, float("nan"), "good", 10**400, [], None])
def test_an_impossible_accuracy_is_damage(tmp_path, value):
    make(tmp_path / "r", {"accuracy": value})
    assert statuses(tmp_path) == {"r": "damaged"}


def test_a_failed_run_that_is_taken_up_again_has_not_failed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "error.txt").write_text("disk full")
    run(TINY, tmp_path / "a")
    assert not (tmp_path / "a" / "error.txt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "runs", "--status", "don"], "unknown status 'don'; nearest: 'done'; valid: running, stopped, done"),
        (["list", "rules", "--rule", "bptt"], "--rule chooses among runs: write `sandbox list runs --rule bptt`"),
        (["index", "--rebuild", "--out", "nowhere"], "nowhere is not a folder; name the one that holds the runs"),
        (["list", "runs", "--out", "file"], "file is not a folder; name the one that holds the runs"),
    ],
)
def test_bad_input_is_answered(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(words) == BAD_INPUT
    assert message in capsys.readouterr().err


def test_an_index_of_an_earlier_version_gets_the_columns_it_lacks(tmp_path):
    with closing(sqlite3.connect(tmp_path / index.NAME)) as connection, connection:
        connection.execute(
            "CREATE TABLE runs (folder TEXT PRIMARY KEY, task TEXT, rule TEXT, seed INTEGER, status TEXT, "
            "test_accuracy REAL, updated TEXT DEFAULT CURRENT_TIMESTAMP)"
        )
        connection.execute("INSERT INTO runs VALUES ('old', 'yinyang', 'bptt', 0, 'done', 0.5, '')")
    make(tmp_path / "old", {"accuracy": 0.5}, seed=5)
    (old,) = told(tmp_path)  # read again, because the index does not say when the row was read
    assert (old["seed"], old["test_accuracy"], old["measure"]) == (5, 0.5, "accuracy")
    index.record(make(tmp_path / "new", {"accuracy": 0.75}), TINY, "done", {"accuracy": 0.75, "loss": 1.0})
    new, old = told(tmp_path)
    assert (new["test_accuracy"], new["measure"], new["test"], old["test_accuracy"]) == (0.75, "accuracy", 0.75, 0.5)


def garbage(path):
    path.write_bytes(b"no database" * 1000)


def cut(path):
    os.truncate(path, 5000)


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def empty(path):
    path.write_bytes(b"")


def directory(path):
    path.unlink()
    path.mkdir()


def dangling(path):
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def other_table(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (name TEXT)")


def newer(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")


BROKEN = (garbage, cut, zeroed, empty, directory, dangling, other_table, newer)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_index_stops_nothing_and_is_replaced(broken, tmp_path, capsys):
    many(tmp_path, 200)
    index.rebuild(tmp_path)
    before = told(tmp_path)
    broken(tmp_path / index.NAME)
    assert told(tmp_path) == before
    assert main(["list", "runs", "--rule", "bptt", "--out", str(tmp_path)]) == OK
    said = capsys.readouterr()
    assert said.out.count("\n") == 100
    assert f"`sandbox index --rebuild --out {tmp_path}` writes it anew" in said.err or broken is empty
    for seed in range(2):
        run(replace(TINY, seed=seed), tmp_path / f"new{seed}")
    warned = capsys.readouterr().err
    assert warned.count("warning:") == (0 if broken is empty else 1), warned
    assert main(["index", "--rebuild", "--out", str(tmp_path)]) == OK
    assert "202 runs in" in capsys.readouterr().out
    assert len(told(tmp_path)) == 202
    assert "warning" not in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob("*index*")) == [index.NAME]


def test_a_locked_index_does_not_keep_learning_waiting(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(index, "PATIENCE", 0.3)
    make(tmp_path / "old", {"accuracy": 0.5})
    index.rebuild(tmp_path)
    with closing(sqlite3.connect(tmp_path / index.NAME, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        for name in "abcd":
            run(TINY, tmp_path / name)
        assert capsys.readouterr().err.count("is in use by another process; runs go on without it") == 1
        begun = time.perf_counter()
        for _ in range(10):
            index.record(tmp_path / "a", TINY, "done", {"accuracy": 0.5})
        assert within(time.perf_counter() - begun, 0.3)  # the wait of one
        assert set(statuses(tmp_path)) == {"old", *"abcd"}
        connection.execute("ROLLBACK")
    assert statuses(tmp_path) == dict.fromkeys(("old", *"abcd"), "done")


@pytest.mark.parametrize("broken", [garbage, directory, os.unlink])
def test_an_index_that_breaks_while_a_run_learns(broken, tmp_path, capsys):
    def breaks(done, total):
        if done == 2:
            broken(tmp_path / index.NAME)

    run(TINY, tmp_path / "a", progress=breaks)
    assert capsys.readouterr().err.count("warning:") == (broken is not os.unlink)
    assert statuses(tmp_path) == {"a": "done"}


def test_a_directory_with_files_is_not_removed_by_a_rebuild(tmp_path, capsys):
    (tmp_path / index.NAME).mkdir()
    (tmp_path / index.NAME / "precious").touch()
    assert main(["index", "--rebuild", "--out", str(tmp_path)]) == 3
    assert "index.sqlite" in capsys.readouterr().err
    assert (tmp_path / index.NAME / "precious").exists()
