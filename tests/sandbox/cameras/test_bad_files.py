"""What cannot be read says what was given, what is wanted, and what to do."""

from __future__ import annotations

import gzip
import hashlib
import re
import struct

import numpy as np
import pytest

from sandbox.cameras import events_of, need, read
from tests.sandbox.cameras import writers

ROWS = [(1, 2, 3, 1), (5, 4, 3, 0)]
INSIDE = {"sensor": (9, 9)}


def refused(tmp_path, name, content, message, **options):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(path, **options)
    assert name in str(caught.value)


CUT = {
    "a.aedat": (writers.aedat2(ROWS)[:-3], "ends 5 bytes into an event of 8: it is truncated; copy it again"),
    "b.aedat": (writers.aedat3(ROWS)[:-1], "announces a packet of 2 events of 8 bytes and has 15 bytes more"),
    "c.aedat": (writers.aedat3(ROWS)[:-20], "ends inside the header of a packet: it is truncated; copy it again"),
    "d.aedat": (writers.aedat3(ROWS)[:40], "has no line #!END-HEADER: it is truncated in its header; copy it again"),
    "damaged.aedat": (
        writers.aedat3(ROWS, width=2),
        "has polarities of 2 bytes; wanted 8: it is damaged; copy it again",
    ),
    "e.dat": (writers.dat(ROWS)[:-1], "ends 7 bytes into a word of 8: it is truncated; copy it again"),
    "f.dat": (writers.dat([])[:-1], "ends behind its header: it is truncated; copy it again"),
    "g.raw": (writers.evt2(ROWS)[:-1], "ends 3 bytes into a word of 4: it is truncated; copy it again"),
    "h.raw": (writers.evt3(ROWS)[:-1], "ends 1 bytes into a word of 2: it is truncated; copy it again"),
    "i.bin": (writers.nmnist(ROWS)[:-1], "has 9 bytes; wanted 5 for each event: it is truncated; unpack its archive"),
    "j.mat": (writers.touches(ROWS)[:300], "it is truncated or damaged; copy it again"),
    "k.npy": (writers.npy(ROWS)[:-3], "it is truncated, damaged or has objects in it"),
    "l.npz": (writers.npz(ROWS)[:200], "it is truncated, damaged or has objects in it"),
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_is_cut_off(name, tmp_path):
    refused(tmp_path, name, *CUT[name])


def test_a_cut_file_of_the_other_libraries(tmp_path):
    pytest.importorskip("aedat")
    refused(tmp_path, "a.aedat4", writers.aedat4(ROWS)[:-40], "it is truncated or damaged; copy it again")


def test_a_cut_hdf5_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file["events"] = writers.fields(ROWS * 1000)
    content = (tmp_path / "whole.h5").read_bytes()
    refused(tmp_path, "cut.h5", content[:3000], "it is truncated, or compressed by a plug-in")


@pytest.mark.parametrize("suffix", [".aedat", ".aedat4", ".raw", ".dat", ".bin", ".mat", ".npy", ".npz", ".h5"])
def test_an_empty_file(suffix, tmp_path):
    refused(tmp_path, f"empty{suffix}", b"", "is empty: copy it again")


NONE = "no events; an empty recording has nothing to learn from: leave it out"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.aedat", writers.aedat2([])),
        ("b.aedat", writers.aedat3([])),
        ("c.aedat", writers.aedat3([], invalid=ROWS)),
        ("d.dat", writers.dat([])),
        ("e.raw", writers.evt2([])),
        ("f.raw", writers.evt3([])),
        ("g.bin", writers.nmnist([(0, 0, 240, 0)])),
        ("h.mat", writers.touches([])),
        ("i.npy", writers.npy([])),
    ],
)
def test_a_recording_without_events(name, content, tmp_path):
    refused(tmp_path, name, content, NONE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.raw",
            writers.aedat2(ROWS),
            "begins with b'#!AER-DAT', the magic bytes of AEDAT, and ends in .raw: rename ",
        ),
        ("a.aedat", writers.evt3(ROWS), "begins with b'% ', the magic bytes of Prophesee EVT, and ends in .aedat"),
        ("a.npy", writers.npz(ROWS), "the magic bytes of NumPy archive, and ends in .npy: rename it to end in .npz"),
        ("a.bin", writers.npy(ROWS), "the magic bytes of NumPy array, and ends in .bin: rename it to end in .npy"),
        ("a.dat", b"\x00\x01\x02\x03", "begins with b'\\x00\\x01\\x02\\x03'; Prophesee DAT begins with b'% '"),
        ("a.mat", b"\x89HDF\r\n\x1a\n", "the magic bytes of HDF5, and ends in .mat: rename it to end in .h5 or .hdf5"),
        ("b.mat", b"MATLAB 7.3 MAT-file", "is a MATLAB file of version 7.3; save it with the option '-v7'"),
        ("b.raw", writers.dat(ROWS), "is encoded as EVT?; wanted EVT 2 or EVT 3, as '% evt 3.0'"),
        ("c.raw", writers.evt3(ROWS, b"% evt 2.1\n"), "is encoded as EVT2.1; wanted EVT 2 or EVT 3"),
        ("d.raw", writers.evt3(ROWS, b"% evt 3.0\n% endianness big\n"), "has words in big endian; wanted little"),
        ("e.raw", b"%  \x01", "wanted the header of a Prophesee camera, '% ' and a key"),
        ("b.dat", writers.dat(ROWS, kind=0x0E), "has events of type 0x0e and 8 bytes; wanted 0x00 or 0x0c"),
        ("c.dat", writers.dat(ROWS, b"% Version 1\n"), "is a DAT file of version 1; wanted version 2: convert it"),
        ("b.aedat", b"#!AER-DAT3.0\r\n", "begins with b'#!AER-DAT3.0\\r\\n'; wanted '#!AER-DAT2.0'"),
        (
            "c.aedat",
            writers.aedat2(ROWS, b"# AEChip: some.CochleaAMS\r\n"),
            "by the chip CochleaAMS; wanted one of DVS128",
        ),
        ("c.npy", b"\x93NUMPYxx", "it is truncated, damaged or has objects in it"),
    ],
)
def test_a_file_of_another_format(name, content, message, tmp_path):
    refused(tmp_path, name, content, message)


@pytest.mark.parametrize(
    ("name", "content", "message", "options"),
    [
        (
            "a.mat",
            writers.matlab(images=np.zeros(3)),
            "has the variables images; wanted spiketrain (ST-MNIST) or out1",
            {},
        ),
        ("b.mat", writers.matlab(spiketrain=np.zeros((5, 2))), "spiketrain has shape (5, 2); wanted 101 rows", {}),
        ("c.mat", writers.matlab(out1=np.zeros((5, 3))), "out1 has shape (5, 3); wanted 6 columns", {}),
        (
            "a.npy",
            writers.npy(ROWS),
            "does not say how large the sensor is: give sensor=(height, width); its events",
            {},
        ),
        (
            "a.dat",
            writers.dat(ROWS, b"% Version 2\n"),
            "give sensor=(height, width); its events reach row 3 and column 4",
            {},
        ),
        (
            "a.npz",
            writers.npz(ROWS, sensor=(2, 9)),
            "reach column 4 and row 3, and the sensor has 9 columns and 2 rows",
            {},
        ),
        ("b.npz", writers.npz(ROWS), "the sensor is (0, 9); give height and width", {"sensor": (0, 9)}),
    ],
)
def test_a_file_with_something_else_in_it(name, content, message, options, tmp_path):
    refused(tmp_path, name, content, message, **options)


def test_arrays_of_another_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"array of shape \(5, 3\) without names of columns; wanted \[n, 4\]"):
        read(tmp_path / "a.npy", **INSIDE)
    with pytest.raises(ValueError, match=r"order='abcd': give the letters t, x, y and p in the order of the columns"):
        read(tmp_path / "a.npy", order="abcd", **INSIDE)
    with pytest.raises(ValueError, match=r"order=4: give the letters t, x, y and p in the order of the columns"):
        read(tmp_path / "a.npy", order=4, **INSIDE)
    np.savez(tmp_path / "b.npz", t=[1], x=[1], label=[1])
    with pytest.raises(ValueError, match=r"has t, x, label; wanted t, x, y and p, and y, p is missing"):
        read(tmp_path / "b.npz", **INSIDE)
    np.save(tmp_path / "c.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"c.npy cannot be read \(Object arrays cannot be loaded"):
        read(tmp_path / "c.npy", **INSIDE)


def test_an_hdf5_file_without_events(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spikes/times"] = [1, 2]
    with pytest.raises(ValueError, match=r"wanted t, x, y and p in one group.*; it has spikes, spikes/times"):
        read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["left"] = file["right"] = writers.fields(ROWS)
    with pytest.raises(ValueError, match=r"; left, right are several"):
        read(tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            ([-5, 3], [0, 0], [0, 0], [0, 1]),
            "1 of 2 times are negative, the first -5 us; wanted whole microseconds from 0",
        ),
        (
            ([1], [5], [2], [1]),
            "reach column 5 and row 2, and the sensor has 4 columns and 6 rows: with x and y exchanged ",
        ),
        (([1], [9], [2], [1]), "for a larger camera give sensor=(height, width), at least (3, 10)"),
        (([1], [-1], [2], [1]), "there is a column -1 and a row 2; wanted pixels counted from 0"),
        (
            ([0.5], [1], [2], [1]),
            "a time is 0.5; wanted whole numbers; times are in microseconds: multiply seconds by 1e6",
        ),
        (([1], [1.5], [2], [1]), "a column is 1.5; wanted whole numbers"),
        (([np.nan], [1], [2], [1]), "a time is nan; wanted whole numbers"),
        (([0.0, np.inf], [1, 1], [2, 2], [1, 1]), "a time is inf; wanted whole numbers"),
        (([1e30], [1], [2], [1]), "a time is 1e+30; wanted at most 63 bits"),
        (([1], [-1e30], [2], [1]), "a column is -1e+30; wanted at most 63 bits"),
        (([1j], [1], [2], [1]), "a time is of type complex128; wanted whole numbers"),
        (([1], [1], [2], ["1"]), "polarities are of type <U1; wanted 0 and 1, or -1 and 1"),
        (([1], [1], [2], [1j]), "polarities are of type complex128; wanted 0 and 1, or -1 and 1"),
        (([1], [1], [2], [None]), "polarities are of type object; wanted 0 and 1, or -1 and 1"),
        (([[1], [2, 3]], [1], [2], [1]), "t cannot be read as an array (setting an array element with a sequence"),
        (([[1, 2], [3, 4]], [1] * 4, [2] * 4, [1] * 4), "t has shape (2, 2); wanted [n], a number for each event"),
        ((["a"], [1], [2], [1]), "a time is of type <U1; wanted whole numbers"),
        ((np.array([2**63], np.uint64), [1], [2], [1]), "a time is 9223372036854775808; wanted at most 63 bits"),
        (
            ([1, 2], [1, 1], [2, 2], [3, 7]),
            "polarities are 3, 7; wanted 0 and 1, or -1 and 1: are the columns in order?",
        ),
        (([1, 2], [1], [2], [1]), "t has 2, x has 1, y has 1, p has 1; wanted one of each for every event"),
        (([], [], [], []), NONE),
    ],
)
def test_events_that_cannot_be(arrays, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        events_of(*arrays, sensor=(6, 4))


def test_what_is_compressed(tmp_path):
    whole = writers.evt3(ROWS)
    refused(tmp_path, "a.raw", gzip.compress(whole), "a.raw is compressed by gzip: decompress it first, by gunzip")
    refused(tmp_path, "a.bin", gzip.compress(writers.nmnist(ROWS)), "a.bin is compressed by gzip: decompress it first")
    refused(tmp_path, "a.npy", b"BZh91AY", "a.npy is compressed by bzip2: decompress it first, by bunzip2")
    refused(
        tmp_path, "a.raw.gz", gzip.compress(whole), "the suffix .gz is not that of a recording; decompress it to a.raw"
    )
    refused(tmp_path, "a.raw", writers.npz(ROWS), "rename it to end in .npz, or unpack it, if it is another archive")


def test_negative_times_of_a_file_name_it(tmp_path):
    content = writers.aedat2([]) + struct.pack(">ii", 0, -7)
    refused(
        tmp_path, "a.aedat", content, "1 of 1 times are negative, the first -7 us; wanted whole microseconds from 0"
    )


def test_an_exchanged_sensor_is_named(tmp_path):
    refused(
        tmp_path,
        "a.npy",
        writers.npy([(1, 600, 100, 1)]),
        "reach column 600 and row 100, and the sensor has 480 columns and 640 rows: with x and y exchanged they fit; "
        "give sensor=(480, 640), height first, or exchange x and y",
        sensor=(640, 480),
    )


def test_an_unknown_suffix():
    with pytest.raises(ValueError, match=r"clip.avi: the suffix .avi is not that of a recording; wanted .aedat, .aeda"):
        read("clip.avi")
    with pytest.raises(ValueError, match=r"the suffix \(none\) is not"):
        read("clip")
    with pytest.raises(FileNotFoundError):
        read("nowhere.npy")


def test_checksums(tmp_path):
    path = tmp_path / "a.npy"
    path.write_bytes(writers.npy(ROWS))
    for kind in ("md5", "sha256"):
        right = getattr(hashlib, kind)(path.read_bytes()).hexdigest()
        assert read(path, checksum=f"{kind}:{right.upper()}", **INSIDE).number == 2
        with pytest.raises(
            ValueError, match=f"a.npy is truncated or a different file: expected {kind} 00, found {right}"
        ):
            read(path, checksum=f"{kind}:00", **INSIDE)
    with pytest.raises(ValueError, match=r"checksum='00': give 'md5:' or 'sha256:' and hexadecimal digits"):
        read(path, checksum="00", **INSIDE)


@pytest.mark.parametrize(
    ("name", "content", "package"), [("a.aedat4", writers.aedat4(ROWS), "aedat"), ("a.h5", b"\x89HDF\r\n", "h5py")]
)
def test_a_missing_package_is_named(name, content, package, tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(need.importlib, "import_module", absent)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportError, match=rf"needs {package}, which is not installed: pip install 'learning-rule-sa"):
        read(tmp_path / name)
