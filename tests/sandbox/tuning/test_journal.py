"""A journal with half a record goes on from the record before it; other damage is named with its line."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from sandbox.tuning import journal, storage
from sandbox.tuning.sampling import optuna_
from sandbox.tuning.tuning import tune
from tests.sandbox.tuning.test_storage import PLAN

optuna = optuna_()
RECORD = b'{"op_code":0,"worker_id":"w","study_name":"%s","directions":[1]}\n'
HALF = RECORD[:40]
ENDS = {
    "half a line": HALF,
    "a record without its end": RECORD[:-1],
    "blank": b"\n",
    "blanks": b"\n \n\n",
    "garbage": b"garbage\n",
    "another value": b"[1]\n",
    "zeros of a file system": b"\0" * 5000,
    "bytes of no text": b"\xff\xfe\n",
    "half a line, then a whole one": HALF + RECORD,
    "nested": b"[" * 100_000 + b"\n",
}


def written(folder, content):
    path = folder / "tuning.journal"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_last_line_without_a_record_is_cut_off(tmp_path, end):
    path = written(tmp_path, RECORD % b"a" + RECORD % b"b" + end)
    opened = storage.opened("journal", tmp_path)
    assert path.read_bytes() == RECORD % b"a" + RECORD % b"b"
    optuna.create_study(study_name="c", storage=opened)
    again = storage.opened("journal", tmp_path)
    assert [study.study_name for study in again.get_all_studies()] == ["a", "b", "c"]


@pytest.mark.parametrize("damage", [b"\n", HALF + RECORD, b"garbage\n"], ids=["blank", "glued", "garbage"])
def test_damage_before_the_last_line_is_named(tmp_path, damage):
    content = RECORD % b"a" + damage + RECORD % b"b"
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=rf"tuning.journal, line 2, is damaged \(.*head -n 1 {path} > kept && mv kept"):
        storage.opened("journal", tmp_path)
    assert path.read_bytes() == content


def test_more_than_one_damaged_line_at_the_end_is_not_cut_off(tmp_path):
    path = written(tmp_path, RECORD % b"a" + b"garbage\ngarbage\n")
    with pytest.raises(ValueError, match=r"line 2, is damaged \(it is not JSON\)"):
        storage.opened("journal", tmp_path)
    assert path.read_bytes().endswith(b"garbage\ngarbage\n")


def test_records_that_contradict_each_other(tmp_path):
    written(tmp_path, b'{"op_code":0,"worker_id":"w"}\n')
    with pytest.raises(ValueError, match=r"tuning.journal is damaged: Optuna cannot read it \(.*rm "):
        storage.opened("journal", tmp_path)


def test_half_a_record_of_a_process_that_is_killed_meanwhile_is_cut_before_the_next(tmp_path):
    opened = storage.opened("journal", tmp_path)
    optuna.create_study(study_name="a", storage=opened)
    with open(tmp_path / "tuning.journal", "ab") as file:
        file.write(HALF)
    optuna.create_study(study_name="b", storage=opened)
    names = [study.study_name for study in storage.opened("journal", tmp_path).get_all_studies()]
    assert names == ["a", "b"]


def append(folder, name):
    opened = storage.opened("journal", folder)
    for n in range(20):
        optuna.create_study(study_name=f"{name}{n}", storage=opened)


@pytest.mark.slow
def test_mending_takes_nothing_from_others(tmp_path):
    crowd = [multiprocessing.get_context("spawn").Process(target=append, args=(tmp_path, name)) for name in "abc"]
    for one in crowd:
        one.start()
    while any(one.is_alive() for one in crowd):
        storage.opened("journal", tmp_path)
    assert len(storage.opened("journal", tmp_path).get_all_studies()) == 60


@pytest.mark.parametrize("size", [0, 1, 1 << 16, (1 << 16) + 1, 200_000])
def test_what_follows_the_last_end_of_a_line_is_cut(tmp_path, size):
    for whole in (b"", b"a\n"):
        path = written(tmp_path, whole + b"x" * size)
        journal.cut(path)
        assert path.read_bytes() == whole


def test_a_tuning_whose_journal_was_cut_has_the_same_trials(tmp_path):
    want = tune(PLAN, tmp_path / "whole", storage="journal")
    content = (tmp_path / "whole" / "tuning.journal").read_bytes()
    (tmp_path / "cut").mkdir()
    written(tmp_path / "cut", content[: len(content) * 2 // 3])
    assert not content[: len(content) * 2 // 3].endswith(b"\n")
    found = tune(PLAN, tmp_path / "cut")
    assert found["studies"] == want["studies"]


@pytest.mark.parametrize("name", storage.FILES)
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_refused(tmp_path, name, exists):
    (tmp_path / "t").mkdir()
    if exists:
        (tmp_path / "other").touch()
    (tmp_path / "t" / storage.FILES[name]).symlink_to(tmp_path / "other")
    assert storage.chosen(None, tmp_path / "t", False) == name
    with pytest.raises(ValueError, match=rf"{storage.FILES[name]} is a symbolic link"):
        storage.opened(name, tmp_path / "t")
    assert (tmp_path / "other").exists() == exists
    assert not exists or (tmp_path / "other").stat().st_size == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", storage.FILES)
def test_a_pipe_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / storage.FILES[name])
    with pytest.raises(ValueError, match=rf"{storage.FILES[name]} is not a (regular )?file"):
        storage.opened(name, tmp_path)
