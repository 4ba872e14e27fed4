"""The Heidelberg sets from files in the documented layout, filled here: counts by a loop, speakers apart, bad files named."""

from __future__ import annotations

import math
import re
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.tasks import published
from sandbox.tasks.checked import checked
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.files import VARIABLE
from sandbox.tasks.heidelberg import SHD, SSC
from sandbox.tasks.loader import Loader
from sandbox.tasks.spike_files import Bins, Spikes, opened, tabled

h5py = pytest.importorskip("h5py", reason="HDF5 wants h5py")
FAST = settings(max_examples=60, deadline=None)
SPEAKERS = (0, 1, 2, 10, 11)


def recorded(rows, seed=0, longest=0.9):
    """Times, not in order, and units of some recordings, as the authors keep them."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 60, rows)
    times = [rng.uniform(0, longest, size).astype(np.float16) for size in sizes]
    return times, [rng.integers(0, 700, size).astype(np.uint16) for size in sizes]


def write(path, times, units, labels, speakers=None, leave_out=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, rows, kind in (("times", times, np.float16), ("units", units, np.uint16)):
            if name in leave_out:
                continue
            held = file.create_dataset(f"spikes/{name}", (len(rows),), h5py.vlen_dtype(np.dtype(kind)))
            for row, values in enumerate(rows):
                held[row] = values
        if "labels" not in leave_out:
            file["labels"] = np.asarray(labels)
        if speakers is not None:
            file["extra/speaker"] = np.asarray(speakers, np.uint16)
        file["extra/keys"] = np.array([f"word {k}".encode() for k in range(20)])
    return path


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Cards that say how many recordings are here."""
    cards = {"recordings": {"train": [20, 12, 1], "validation": [6], "test": [9, 6, 1]}, "name": "Small"}
    monkeypatch.setattr(published.yaml, "safe_load", lambda text: cards)


@pytest.fixture
def digits(tmp_path):
    """Twenty recordings of five speakers for training, and nine for testing."""
    write(tmp_path / "shd" / "shd_train.h5", *recorded(20), np.arange(20), [SPEAKERS[n % 5] for n in range(20)])
    write(tmp_path / "shd" / "shd_test.h5", *recorded(9, 1), np.arange(9), [4, 5, 0] * 3)
    return tmp_path


def everything(split):
    return split.take(torch.arange(len(split)), torch.Generator())


def by_loop(times, units, steps, duration, group):
    """Counts, a spike at a time, in whole numbers of a thousandth of a step, which is the slack of all steps here."""
    counts = np.zeros((steps, 700 // group))
    for time_, unit in zip(times.tolist(), units.tolist()):
        counts[math.floor(time_ * 1000 / duration + 0.001), unit // group] += 1
    return counts


def test_counts_are_those_of_a_loop(digits):
    data = checked(SHD(steps=100).load(digits), "shd")
    times, units = recorded(20)
    for split in (data.train, data.validation):
        x, _ = everything(split)
        for row, counts in zip(split.rows.tolist(), x):
            assert np.array_equal(counts.numpy(), by_loop(times[row], units[row], 100, 10.0, 5))
    assert (data.shape, data.classes) == ((140,), 20)


@FAST
@given(
    st.lists(st.tuples(st.floats(0, 1.4), st.integers(0, 699)), min_size=1, max_size=50),
    st.sampled_from([0.5, 1.0, 3.3, 10.0, 25.0, 1500.0]),
    st.sampled_from([1, 2, 4, 5, 7, 100, 700]),
    st.randoms(use_true_random=False),
)
def test_no_spike_is_lost_at_any_width(pairs, duration, group, order):
    bins = Bins(steps=3000, duration=duration, group=group)
    count = [bins(Spikes(*map(np.array, zip(*rows))), "a") for rows in (pairs, order.sample(pairs, len(pairs)))]
    assert count[0].sum() == len(pairs)
    assert np.array_equal(*count)  # whatever their order
    unit = np.array([unit for _, unit in pairs])
    assert np.array_equal(count[0].sum(0), np.bincount(unit // group, minlength=700 // group))


def test_coarse_counts_are_sums_of_fine_ones():
    times, units = (rows[0] for rows in recorded(1))
    spikes = Spikes(times.astype(float), units.astype(int))
    fine, coarse = (Bins(steps, 1000 / steps, 1)(spikes, "a") for steps in (1000, 100))
    assert np.array_equal(fine.reshape(100, 10, 700).sum(1), coarse)


def test_a_time_at_a_border_belongs_to_the_later_step():
    found = Bins(steps=300, duration=10.0, group=700)(Spikes(np.array([0.0, 0.01, 2.01]), np.array([0, 0, 0])), "a")
    assert found[:, 0].nonzero()[0].tolist() == [0, 1, 201]  # 1000 * 2.01 / 10 is below 201


def test_the_end_of_the_last_step_belongs_to_it():
    """As in the histograms of NumPy."""
    times = np.array([0.31, 0.61, 0.99996, 1.0])
    found = Bins(steps=10, duration=100.0, group=700)(Spikes(times, np.zeros(4, int)), "a")
    assert found[:, 0].tolist() == np.histogram(times, 10, (0, 1))[0].tolist()
    with pytest.raises(ValueError, match="a has all of its 1 spikes behind 10 steps of 100 ms"):
        Bins(steps=10, duration=100.0)(Spikes(np.array([1.0001]), np.array([0])), "a")


def test_speakers_who_validate_are_not_trained_on(digits):
    data = SHD().load(digits)
    who = np.array([SPEAKERS[n % 5] for n in range(20)])
    assert set(who[data.train.rows.tolist()]) == {0, 1, 2}
    assert set(who[data.validation.rows.tolist()]) == {10, 11}
    assert sorted([*data.train.rows.tolist(), *data.validation.rows.tolist()]) == list(range(20))
    assert data.train.y.equal(data.train.rows)
    assert data.test.y.tolist() == list(range(9))
    assert not SHD().exchangeable


def test_words_have_a_file_for_each_split(tmp_path):
    for part, rows in (("train", 12), ("valid", 6), ("test", 9)):
        write(tmp_path / "SSC" / f"ssc_{part}.h5", *recorded(rows, rows), np.arange(rows) * 3, np.arange(rows))
    data = checked(SSC(bin_channels=7).load(tmp_path), "ssc")
    assert [len(split) for split in data[:3]] == [12, 6, 9]
    assert everything(data.test)[0].shape == (9, 100, 100)
    assert (data.classes, SSC().memory, SHD().memory) == (35, 100, 140)


def test_batches_say_where_recordings_end(digits):
    times, _ = recorded(20)
    data = checked(SHD(lengths=True).load(digits), "shd")
    ends = [math.floor(times[row].astype(float).max() * 100 + 0.001) + 1 for row in data.train.rows.tolist()]
    batch = next(iter(Loader(data.train, AsRecorded(), 100, shuffle=False)))
    assert batch.lengths.tolist() == ends
    for row, end in enumerate(ends):
        assert batch.x[end - 1, row].any()
        assert not batch.x[end:, row].any()
    assert SHD().load(digits).train.lengths is None


def test_checksums_follow_settings_and_rows(digits):
    made = [SHD(**options).load(digits).checksum for options in ({}, {}, {"steps": 141}, {"lengths": True})]
    assert made[0] == made[1]
    assert len(set(made)) == 3
    write(digits / "shd" / "shd_train.h5", *recorded(20), np.arange(20)[::-1], [SPEAKERS[n % 5] for n in range(20)])
    assert SHD().load(digits).checksum not in made


def test_spikes_behind_the_last_step_are_named_or_cut(tmp_path):
    late, units = [np.array([0.005, 1.205, 0.5])], [np.array([3, 4, 5])]
    for part in ("valid", "test"):
        write(tmp_path / "ssc" / f"ssc_{part}.h5", *recorded(6), np.arange(6))
    path = write(tmp_path / "ssc" / "ssc_train.h5", late, units, [1])
    message = (
        f"recording 0 of {path} has 1 of 3 spikes behind 100 steps of 10 ms, the last one at 1205.08 ms: give steps=121, "
        "or late='cut' to leave them out"
    )  # 1.205 in 16 bits
    with pytest.raises(ValueError, match=re.escape(message)):
        everything(SSC().load(tmp_path).train)
    assert everything(SSC(late="cut", lengths=True).load(tmp_path).train)[0].sum() == 2
    assert SSC(late="cut", lengths=True).load(tmp_path).train.lengths.tolist() == [100]
    assert everything(SSC(steps=121).load(tmp_path).train)[0].sum() == 3
    with pytest.raises(
        ValueError, match=r"recording 0 of .* has all of its 3 spikes behind 1 steps of 1 ms, so that all"
    ):
        everything(SSC(steps=1, duration=1.0, late="cut").load(tmp_path).train)


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize(
    ("times", "units", "message"),
    [
        ([], [], "has no spikes, so that all of its steps would be padding: leave it out"),
        ([0.1, 0.2], [1], "has times [2] and units [1]; wanted one of each, [n]"),
        ([0.1], [700], "has units from 700 to 700; wanted channels of the cochlea, 0 to 699"),
        ([0.1, -0.5], [1, 2], "has a spike at -0.5 s; wanted finite seconds of at least 0"),
        ([0.1, math.nan], [1, 2], "has a spike at nan s; wanted finite seconds of at least 0"),
        ([math.inf], [1], "has a spike at inf s; wanted finite seconds of at least 0"),
    ],
)
def test_recordings_that_cannot_be_are_named(times, units, message, lengths, digits):
    path = digits / "shd" / "shd_test.h5"
    write(path, [np.array(times)], [np.array(units)], [3], [0])
    with pytest.raises(ValueError, match=re.escape(f"recording 0 of {path} {message}")):
        everything(SHD(lengths=lengths).load(digits).test)


def test_negative_and_broken_channels_are_named(digits):
    path = digits / "shd" / "shd_test.h5"
    for units, message in (([-1.0], "has units from -1 to -1"), ([1.5], "a unit is 1.5; wanted whole numbers")):
        with h5py.File(path, "w") as file:
            file["spikes/times"], file["spikes/units"] = np.ones((1, 1)), np.array([units])
            file["labels"] = [0]
        with pytest.raises(ValueError, match=re.escape(message)):
            everything(SHD().load(digits).test)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"leave_out": ("units",)},
            "wanted spikes/times, spikes/units, labels, and spikes/units is missing: it is a di",
        ),
        (
            {"leave_out": ("labels", "times")},
            "has extra/keys, spikes/units; wanted spikes/times, spikes/units, labels, and",
        ),
        ({"labels": [0, 1, 35]}, "has labels from 0 to 35; wanted 0 to 34: it is another set"),
        ({"labels": [0, 1, -1]}, "has labels from -1 to 1; wanted 0 to 34"),
        ({"labels": [0.0, 0.5, 1.0]}, "a label is 0.5; wanted whole numbers"),
        (
            {"labels": [0, 1]},
            "has spikes/times [3], spikes/units [3], labels [2]; wanted one entry in each for every rec",
        ),
        ({"times": [], "units": [], "labels": []}, "has no recordings: fetch it again"),
    ],
)
def test_files_of_another_layout_are_named(options, message, tmp_path):
    times, units = recorded(3)
    path = write(tmp_path / "a.h5", **{"times": times, "units": units, "labels": [0, 1, 2], **options})
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        tabled(path, 35, speakers=False)
    assert str(path) in str(caught.value)


def test_speakers_are_wanted_where_they_are_held_out(digits):
    path = digits / "shd" / "shd_train.h5"
    write(path, *recorded(20), np.arange(20))
    with pytest.raises(ValueError, match=r"labels, extra/speaker, and extra/speaker is missing"):
        SHD().load(digits)
    write(path, *recorded(20), np.arange(20), [7, 8] * 10)
    with pytest.raises(ValueError, match=r"shd_train.h5 has 2 speakers; wanted more than 2, of whom 2 are for valida"):
        SHD().load(digits)


def test_damaged_and_packed_files_are_named(digits):
    path = digits / "shd" / "shd_train.h5"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read (")):
        SHD().load(digits)
    path.write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"it is truncated or damaged; fetch it again"):
        SHD().load(digits)
    path.rename(path.with_name("shd_train.h5.gz")).write_bytes(b"\x1f\x8b\x08 and so on")
    with pytest.raises(ValueError, match=r"shd_train.h5.gz is compressed by gzip: decompress it first, by gunzip"):
        SHD().load(digits)


def test_another_number_of_recordings_is_warned_of(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SHD().load(digits)
    write(digits / "shd" / "shd_test.h5", *recorded(8), np.arange(8), np.zeros(8))
    with pytest.warns(UserWarning, match=r"shd_test.h5 has 8 recordings for test, and Small has 9: accuracies are not"):
        SHD().load(digits)


def test_without_files_or_the_package_one_is_told_what_to_do(digits, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    with pytest.raises(
        FileNotFoundError, match=r"ssc/ssc_train.h5, SSC/.*Fetch ssc_train.h5.gz from https://zenk.*gunzip"
    ):
        SSC().load()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        ImportError, match=r"HDF5 needs h5py, which is not .*: pip install 'learning-rule-sandbox\[speech\]"
    ):
        SHD().load(digits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"steps": 10**8}, "steps=100000000: give at most 10000000"),
        ({"duration": 0.0}, "duration=0.0 ms: give the length of a step, from 0.01 to 10000 ms"),
        ({"bin_channels": 3}, "bin_channels=3: give a number that divides 700, one of 1, 2, 4, 5, 7, 10"),
        ({"late": "last"}, "unknown late 'last'"),
    ],
)
@pytest.mark.parametrize("make", [SHD, SSC])
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**options)


def test_counting_is_a_hundred_times_faster_than_speech():
    """Of the time of one core, the best of three: 20 recordings of a second with 8,000 spikes each."""
    rng = np.random.default_rng(0)
    spikes = [Spikes(rng.uniform(0, 1, 8000), rng.integers(0, 700, 8000)) for _ in range(20)]
    bins, took = Bins(100, 10.0), []
    for _ in range(3):
        begun = time.thread_time()
        for each in spikes:
            bins(each, "a")
        took.append(time.thread_time() - begun)
    assert 20 / min(took) > 100


def test_an_open_file_is_closed_behind_an_error(digits):
    path = digits / "shd" / "shd_test.h5"
    with pytest.raises(ValueError, match="mine"), opened(path) as file:
        raise ValueError("mine")
    assert not file
