"""Every format: what a writer made by its description puts into a file is what is read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.cameras import events_of, read
from sandbox.cameras.aedat import aedat2, aedat3
from sandbox.cameras.clock import unturned
from sandbox.cameras.evt3 import decoded
from sandbox.cameras.prophesee import evt2, header, raw, sensor_of
from tests.sandbox.cameras import writers

FAST = settings(deadline=None, max_examples=30)
FORMATS = {  # suffix, writer, sensor (height, width) of its events, and what is given to `read`
    "aedat2": (".aedat", writers.aedat2, (128, 128), {}),
    "aedat2_davis": (".aedat", writers.aedat2_davis, (180, 240), {}),
    "aedat3": (".aedat", writers.aedat3, (128, 128), {}),
    "dat": (".dat", writers.dat, (480, 640), {}),
    "evt2": (".raw", writers.evt2, (480, 640), {}),
    "evt3": (".raw", writers.evt3, (480, 640), {}),
    "nmnist": (".bin", writers.nmnist, (34, 34), {}),
    "touches": (".mat", writers.touches, (10, 10), {}),
    "converted": (".mat", writers.converted, (128, 128), {}),
    "npy": (".npy", writers.npy, (300, 200), {"sensor": (300, 200)}),
    "npz": (".npz", lambda rows: writers.npz(rows, sensor=(300, 200)), (300, 200), {}),
}


def rows_of(found):
    return list(zip(found.t.tolist(), found.x.tolist(), found.y.tolist(), found.p.tolist(), strict=True))


def drawn(data, sensor, last=2**23 - 1):
    """Events in the order of time, row, polarity and column."""
    height, width = sensor
    event = st.tuples(st.integers(0, last), st.integers(0, width - 1), st.integers(0, height - 1), st.integers(0, 1))
    rows = data.draw(st.lists(event, min_size=1, max_size=30))
    near = [(t, min(x + 3, width - 1), y, p) for t, x, y, p in rows[::2]]  # neighbours, for vectors of EVT 3
    return sorted({*rows, *near}, key=lambda row: (row[0], row[2], row[3], row[1]))


@pytest.mark.parametrize("name", FORMATS)
@FAST
@given(data=st.data())
def test_what_was_written_is_read(name, data, tmp_path_factory):
    suffix, write, sensor, options = FORMATS[name]
    rows = drawn(data, sensor)
    path = tmp_path_factory.mktemp(name) / f"recording{suffix}"
    path.write_bytes(write(rows))
    found = read(path, **options)
    assert rows_of(found) == rows
    assert found.sensor == sensor
    assert (found.t.dtype, found.x.dtype, found.y.dtype, found.p.dtype) == (np.int64, np.int16, np.int16, np.uint8)


@FAST
@given(data=st.data())
def test_what_was_written_as_aedat4_is_read(data, tmp_path_factory):
    pytest.importorskip("aedat")
    rows = drawn(data, (34, 34), 2**62)
    path = tmp_path_factory.mktemp("aedat4") / "recording.aedat4"
    path.write_bytes(writers.aedat4(rows))
    assert rows_of(read(path)) == rows
    assert read(path).sensor == (34, 34)


@FAST
@given(data=st.data(), kind=st.sampled_from(["group", "dsec", "compound"]))
def test_what_was_written_as_hdf5_is_read(data, kind, tmp_path_factory):
    h5py = pytest.importorskip("h5py")
    rows = drawn(data, (300, 200))
    path = tmp_path_factory.mktemp("hdf5") / "recording.h5"
    with h5py.File(path, "w") as file:
        if kind == "compound":
            file["CD/events"] = writers.fields(rows)
        else:
            for name in "txyp":
                file[f"events/{name}"] = writers.fields(rows)[name]
        if kind == "dsec":
            file["t_offset"] = 1000
        file.attrs["height"], file.attrs["width"] = 300, 200
    found = read(path)
    shift = 1000 if kind == "dsec" else 0
    assert rows_of(found) == [(t + shift, x, y, p) for t, x, y, p in rows]


def loop(words):
    """EVT 3.0 as its description tells it, word by word."""
    found, high, low, row, base, polarity, turns = [], None, 0, None, None, None, 0
    for word in words:
        kind, value = word >> 12, word & 0xFFF
        if kind == 8:
            turns += high is not None and value - high < -2048
            high = value
        elif kind == 6:
            low = value
        elif kind == 0:
            row = value & 0x7FF
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        pixels = []
        if kind == 2:
            pixels = [(value & 0x7FF, value >> 11)]
        elif kind in (4, 5):
            many = 12 if kind == 4 else 8
            if base is not None:
                pixels = [(base + bit, polarity) for bit in range(many) if value >> bit & 1]
                base += many
        if None not in (high, row):
            found += [((turns << 24) | (high << 12) | low, x, row, p) for x, p in pixels]
    return found


WORD = st.builds(
    lambda kind, value: kind << 12 | value, st.sampled_from([0, 2, 3, 4, 5, 6, 8, 10, 14]), st.integers(0, 4095)
)


@settings(deadline=None, max_examples=300)
@given(st.lists(WORD, max_size=40))
def test_evt3_without_a_loop_equals_the_loop(words):
    found = decoded(np.array(words, np.uint16))
    assert list(zip(*(part.tolist() for part in found), strict=True)) == loop(words)


def test_clocks_turn():
    rows = [(2**34 - 1, 1, 1, 1), (2**34 + 5, 2, 2, 0)]
    assert rows_of(raw(writers.evt2(rows), "long.raw")) == rows
    rows = [(2**24 - 1, 1, 1, 1), (2**24 + 5, 2, 2, 0), (2**25 - 1, 3, 3, 1), (2**25, 4, 4, 1)]
    assert rows_of(raw(writers.evt3(rows), "long.raw")) == rows
    assert unturned(np.array([5, 4, 7]), 8).tolist() == [5, 4, 7]  # a step back is no turn


def test_the_clock_of_dat_and_of_packets_turns(tmp_path):
    path = tmp_path / "long.dat"
    path.write_bytes(writers.dat([(2**32 - 1, 1, 1, 1), (2**32 + 5, 2, 2, 0)]))
    assert read(path).t.tolist() == [2**32 - 1, 2**32 + 5]
    assert aedat3(writers.aedat3([(7, 1, 2, 1)], turns=3), "long").t.tolist() == [3 * 2**31 + 7]


def test_events_before_the_first_time_are_left_out():
    words = struct.pack("<4I", 1 << 28 | 5 << 11 | 6, 8 << 28 | 2, 1 << 28 | 3 << 22 | 7 << 11 | 8, 3 << 28)
    assert rows_of(raw(b"% evt 2.0\n% geometry 9x9\n" + words, "begun.raw")) == [(2 << 6 | 3, 7, 8, 1)]
    assert evt2(np.zeros(0, np.uint32))[0].tolist() == []


def test_what_is_no_change_of_brightness_is_left_out():
    rows = [(5, 10, 20, 1), (6, 11, 21, 0)]
    assert rows_of(aedat3(writers.aedat3(rows, invalid=[(7, 1, 1, 1)]), "some")) == rows
    found = aedat2(writers.aedat2_davis(rows, other=[1 << 31 | 20 << 22, 1 << 10]), "some")
    assert rows_of(found) == rows
    external = struct.pack(">IiIi", 1 << 15, 7, 1 << 15 | 20 << 8 | 1, 8)
    assert rows_of(aedat2(writers.aedat2(rows) + external, "some")) == rows


@pytest.mark.parametrize(("chip", "height", "width"), [("DAVIS346", 260, 346), ("davis240C", 180, 240)])
def test_a_chip_can_be_named_for_files_that_name_none(chip, height, width, tmp_path):
    path = tmp_path / "simulated.aedat"
    rows = [(5, width - 1, height - 1, 1), (6, 11, 0, 0)]
    path.write_bytes(writers.aedat2_v2e(rows, height, width))
    found = read(path, chip=chip)
    assert rows_of(found) == [(t, x, height - 1 - y, p) for t, x, y, p in rows]  # rows from the bottom
    assert found.sensor == (height, width)


@pytest.mark.parametrize("kind", ["u2", "u4", "i4", "u8", "f4"])
def test_an_offset_does_not_wrap_times_of_few_bits(kind, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "recording.h5"
    for offset in (2**16 - 2, 2**32 - 2, 2**40, -3):
        with h5py.File(path, "w") as file:
            for name, values in {"t": [3, 65_535 if kind == "u2" else 2**17], "x": [1, 1], "y": [2, 2]}.items():
                file[f"events/{name}"] = np.array(values, kind)
            file["events/p"] = [0, 1]
            file["t_offset"] = offset
        assert read(path, sensor=(9, 9)).t.tolist() == [3 + offset, (65_535 if kind == "u2" else 2**17) + offset]


def test_both_files_of_a_recording_of_cifar10_dvs_are_the_same(tmp_path):
    """The `.aedat` and what `dat2mat.m` makes of it; 4 columns in later versions."""
    rows = [(0, 3, 100, 1), (9, 127, 0, 0)]
    (tmp_path / "a.aedat").write_bytes(writers.aedat2(rows))
    (tmp_path / "a.mat").write_bytes(writers.converted(rows))
    (tmp_path / "b.mat").write_bytes(writers.matlab(out1=np.array([(t, x, y, 2 * p - 1) for t, x, y, p in rows])))
    assert rows_of(read(tmp_path / "a.aedat")) == rows_of(read(tmp_path / "a.mat")) == rows_of(read(tmp_path / "b.mat"))


def test_a_header_may_say_the_sensor_in_several_ways():
    assert sensor_of({"plugin_name": "hal_plugin_gen41_evk3"}) == (720, 1280)
    keys, place = header(b"% evt 3.0\n% format EVT3;height=7;width=9\n%\x01\x02", "x")
    assert (sensor_of(keys), place) == ((7, 9), 41)  # the data begin with a percent sign


def test_columns_without_names_have_an_order(tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, np.array([[1, 2, 50, 1], [3, 4, 60, 0]]))
    assert read(path, sensor=(5, 5), order="xytp").t.tolist() == [50, 60]
    assert read(path, sensor=(100, 100)).t.tolist() == [1, 3]


def test_names_of_other_libraries_are_known(tmp_path):
    path = tmp_path / "rows.npz"
    np.savez(path, timestamps=[5, 4], x=[1, 0], y=[0, 1], polarity=[-1, 1])
    assert rows_of(read(path, sensor=(2, 2))) == [(4, 0, 1, 1), (5, 1, 0, 0)]


def test_events_of_one_time_keep_their_order():
    found = events_of([9] + [4] * 300, range(301), [0] * 301, [1] * 301, sensor=(1, 301))
    assert found.x.tolist() == [*range(1, 301), 0]


def test_events_between_two_times():
    found = aedat2(writers.aedat2([(1, 1, 1, 1), (2, 2, 2, 0), (3, 3, 3, 1)]), "some").between(2, 3)
    assert rows_of(found) == [(2, 2, 2, 0)]
