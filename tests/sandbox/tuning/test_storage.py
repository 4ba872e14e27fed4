"""Where trials are kept: the same trials in each storage, on one host or two; SQLite stays on local disks."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace

import pytest

from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid
from sandbox.config.rule import RuleConfig
from sandbox.executors.shared import Shared
from sandbox.machine import mounts
from sandbox.tuning import storage
from sandbox.tuning.tuning import Tuning, tune
from tests.sandbox.runs.test_run import TINY

PLAN = Tuning(Grid([Comparison(replace(TINY, epochs=1), [RuleConfig("spsa", {"draws": 1})])]), trials=3, searches=2)


@pytest.fixture
def on_nfs(monkeypatch):
    monkeypatch.setattr(mounts, "mounts", lambda: [("/", "nfs4")])


def test_a_storage_is_chosen_by_what_is_given_then_by_what_is_there(tmp_path):
    assert storage.chosen(None, tmp_path, False) == "sqlite"
    assert storage.chosen(None, tmp_path, True) == "journal"
    assert storage.chosen("sqlite", tmp_path, True) == "sqlite"
    (tmp_path / "tuning.journal").touch()
    assert storage.chosen(None, tmp_path, False) == "journal"
    with pytest.raises(ValueError, match=r"are in journal, not in sqlite: leave --storage out"):
        storage.chosen("sqlite", tmp_path, False)


def test_a_network_file_system_gets_a_journal(tmp_path, on_nfs):
    assert storage.chosen(None, tmp_path, False) == "journal"


@pytest.mark.parametrize("given", ["sqlite", "sqlite:////net/trials.sqlite"])
def test_sqlite_on_a_network_file_system_is_refused(tmp_path, on_nfs, given):
    with pytest.raises(
        ValueError, match=r"is on a network file system \(nfs4\), where SQLite can lose trials: use --sto"
    ):
        storage.chosen(given, tmp_path, True)


def test_an_earlier_sqlite_that_was_moved_to_a_network_file_system_is_refused(tmp_path, on_nfs):
    (tmp_path / "tuning.sqlite").touch()
    with pytest.raises(ValueError, match="SQLite can lose trials"):
        storage.chosen(None, tmp_path, False)


@pytest.mark.parametrize("given", ["jurnal", "x.db", "", "1"])
def test_a_storage_that_is_none(tmp_path, given):
    if not given:
        assert storage.chosen(given, tmp_path, False) == "sqlite"
        return
    with pytest.raises(ValueError, match=r"storage='.*': give sqlite, journal, or a URL such as postgresql://"):
        storage.chosen(given, tmp_path, False)


def test_a_database_is_remembered_without_its_password(tmp_path):
    url = "postgresql://anna:secret@host/trials"
    storage.keep(storage.chosen(url, tmp_path, True), tmp_path)
    assert "secret" not in (tmp_path / storage.ELSEWHERE).read_text()
    with pytest.raises(ValueError, match=r"are in postgresql://anna:\*\*\*@host/trials: name it, with its password"):
        storage.chosen(None, tmp_path, True)
    with pytest.raises(ValueError, match=r"not in sqlite"):
        storage.chosen("sqlite", tmp_path, True)
    assert storage.chosen(url, tmp_path, True) == url


@pytest.mark.parametrize("name", ["q?x=1", "p%41", "{a}", "with blank"])
def test_any_folder_has_its_file_inside(tmp_path, name):
    (tmp_path / name).mkdir()
    opened = storage.opened("sqlite", tmp_path / name)
    assert (tmp_path / name / "tuning.sqlite").exists()
    assert opened.get_all_studies() == []


def join(folder):
    """Work on the studies beside the caller, as `compare --join` does."""
    where = Shared.joining(1, 30.0)
    studies = PLAN.studies(folder, storage="journal")
    try:
        where.submit(studies, folder)
        where.gather(lambda done, total: None)
    finally:
        where.cancel()


@pytest.mark.slow
def test_no_storage_and_no_number_of_hosts_changes_a_trial(tmp_path):
    tune(PLAN, tmp_path / "sqlite")
    tune(PLAN, tmp_path / "url", storage=f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    other = multiprocessing.get_context("spawn").Process(target=join, args=(tmp_path / "shared",))
    other.start()
    tune(PLAN, tmp_path / "shared", executor=Shared(1))
    other.join()
    assert (tmp_path / "shared" / "tuning.journal").exists()
    want = json.loads((tmp_path / "sqlite" / "tuning.json").read_text())
    assert all(len(found["trials"]) == 3 for found in want["studies"].values())
    for name in ("url", "shared"):
        assert json.loads((tmp_path / name / "tuning.json").read_text()) == want
        assert (tmp_path / name / "tuned.yaml").read_text() == (tmp_path / "sqlite" / "tuned.yaml").read_text()
