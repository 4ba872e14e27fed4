"""N-MNIST: events read as an independent reader does, and none lost on the way to steps."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from sandbox.cameras import by_time
from sandbox.tasks import nmnist
from sandbox.tasks.checked import checked
from sandbox.tasks.nmnist import NMNIST, Files, NMNISTSmall, listed, parse

DATA = Path(os.environ.get("SANDBOX_DATA", ""))
SAMPLE, SMALL = DATA / "events" / "sample_nmnist.bin", DATA / "nmnist-small" / "nmnist_small.npz"
needs_sample = pytest.mark.skipif(not SAMPLE.is_file(), reason="SANDBOX_DATA names no folder with events/")
needs_small = pytest.mark.skipif(not SMALL.is_file(), reason="SANDBOX_DATA names no folder with nmnist-small/")


def packed(events):
    """Events as bytes: the 40 bits as one number."""
    return b"".join((x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big") for x, y, p, t in events)


def test_the_clock_turns_at_a_mark_of_overflow():
    found = parse(packed([(1, 2, 1, 8000), (0, 240, 0, 0), (3, 4, 0, 5), (0, 240, 0, 0), (5, 6, 1, 7)]), "written")
    assert found.t.tolist() == [8000, 5 + 8192, 7 + 2 * 8192]
    assert (found.x.tolist(), found.p.tolist()) == ([1, 3, 5], [1, 0, 1])


@needs_sample
def test_a_real_recording_is_whole():
    content = SAMPLE.read_bytes()
    found = parse(content, SAMPLE.name)
    assert len(found.t) == len(content) // 5 == 4325
    assert (np.diff(found.t) >= 0).all()
    assert 250_000 < found.t.max() < 340_000  # three saccades of about 100 ms
    assert by_time(found, 10_000, steps=34, start=0).sum() == len(found.t)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut.bin has 0 bytes; wanted 5 for each event: it is truncated; unpack its archive again"),
        (b"123456", "cut.bin has 6 bytes; wanted 5 for each event"),
        (
            packed([(34, 0, 0, 0)]),
            "cut.bin: events reach column 34 and row 0, and the sensor has 34 columns and 34 rows",
        ),
    ],
)
def test_bad_files_are_named(content, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(content, "cut.bin")


@pytest.fixture
def official(tmp_path):
    """A folder laid out as the archives are, with three recordings of each digit for training and one for test."""
    number = 1
    for part, many in (("Train", 3), ("Test", 1)):
        for _ in range(many):
            for digit in (3, 1, 4, 5, 9, 2, 6, 8, 7, 0):
                folder = tmp_path / "nmnist" / part / str(digit)
                folder.mkdir(parents=True, exist_ok=True)
                number += 1
                (folder / f"{number:05}.bin").write_bytes(packed([(digit, number % 34, 1, 1000 * number)] * number))
    return tmp_path


def test_the_official_folders(official, monkeypatch):
    monkeypatch.setattr(nmnist, "VALIDATION", 10)
    monkeypatch.setattr(nmnist.yaml, "safe_load", lambda text: {"recordings": {"Train": 30, "Test": 10}})
    data = checked(NMNIST(steps=4, duration=10.0).load(official), "nmnist")
    assert [len(split) for split in data[:3]] == [20, 10, 10]
    assert data.train.y[:10].tolist() == [3, 1, 4, 5, 9, 2, 6, 8, 7, 0]  # by number, not by digit
    x, y = data.validation.take(torch.arange(10), torch.Generator())
    assert x.shape == (10, 4, 2, 34, 34)
    assert x.sum((1, 2, 3, 4)).tolist() == [float(number) for number in range(22, 32)]
    assert x.sum((1, 2, 3)).argmax(1).tolist() == y.tolist()  # the column of each recording is its digit


def test_a_folder_without_all_recordings_is_refused(official):
    with pytest.raises(ValueError, match=r"Train has 30 recordings; wanted 60000.*unpack Train.zip again"):
        NMNIST().load(official)
    assert len(listed(official / "nmnist" / "Test", 10)) == 10
    paths = listed(official / "nmnist" / "Train", 30)
    assert Files(paths, 4, 10.0).y.tolist() == [int(path.parent.name) for path in paths]


def test_who_has_none_is_told_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("SANDBOX_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"garrickorchard.com/datasets/n-mnist.*nmnist/Train/0/00002.bin.*--data"
    ):
        NMNIST().load()


@needs_small
def test_the_small_set_loses_no_event():
    data = NMNISTSmall(steps=10, duration=20.0).load()  # the last step has those of the last 140 ms
    assert [len(split) for split in data[:3]] == [900, 100, 100]
    with np.load(SMALL) as file:
        wanted = {part: np.diff(file[f"{part}_offsets"]) for part in ("train", "test")}
        labels = torch.from_numpy(file["train_labels"])
    assert torch.equal(torch.cat([data.train.y, data.validation.y]), labels)
    for split, many in (
        (data.train, wanted["train"]),
        (data.validation, wanted["train"][900:]),
        (data.test, wanted["test"]),
    ):
        rows = torch.tensor([0, 7, len(split) - 1])
        x, _ = split.take(rows, torch.Generator())
        assert x.sum((1, 2, 3, 4)).tolist() == many[[0, 7, len(split) - 1]].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"duration": 0.0}, "duration=0.0 ms: give the length of a step, from 0.001 to 1000 ms"),
        ({"duration": 1.0005}, "duration=1.0005 ms: give a whole number of us, such as 1.000 ms"),
    ],
)
def test_bad_options_are_named(options, message):
    for task in (NMNIST, NMNISTSmall):
        with pytest.raises(ValueError, match=re.escape(message)):
            task(**options)
