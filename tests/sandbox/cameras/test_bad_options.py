"""Sensors, options, chips and offsets that cannot be: what was given, what is wanted, and what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest

from sandbox.cameras import events_of, read
from tests.sandbox.cameras import writers
from tests.sandbox.cameras.test_bad_files import INSIDE, ROWS, refused


@pytest.mark.parametrize(
    "sensor", [2, 0, [], (2, 2, 2), ("2", "2"), (2.5, 2.5), "22", (2**15, 2), [[2], [2, 2]], (1e30, 2)]
)
def test_a_sensor_that_is_no_height_and_width(sensor, tmp_path):
    message = re.escape(f"the sensor is {sensor!r}; give height and width, whole numbers from 1 to 32767")
    with pytest.raises(ValueError, match=message):
        events_of([1], [1], [1], [1], sensor=sensor)
    for name, content in {
        "a.npz": writers.npz(ROWS),
        "a.raw": writers.evt3(ROWS),
        "a.bin": writers.nmnist(ROWS),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            read(tmp_path / name, sensor=sensor)


@pytest.mark.parametrize("sensor", [[], 5, ["2", "2"], [2.5, 2]])
def test_a_sensor_in_an_archive_that_is_no_height_and_width(sensor, tmp_path):
    content = writers.npz(ROWS, sensor=np.array(sensor))
    refused(tmp_path, "a.npz", content, f"the sensor is {np.array(sensor)!r}; give height and width, whole numbers")


def test_a_sensor_of_a_file_may_be_written_as_floats(tmp_path):
    (tmp_path / "a.npz").write_bytes(writers.npz(ROWS, sensor=np.array([9.0, 8.0])))
    assert read(tmp_path / "a.npz").sensor == (9, 8)


def test_objects_in_an_archive_name_the_file(tmp_path):
    arrays = {name: writers.fields(ROWS)[name] for name in "txyp"}
    for key in ("t", "p", "sensor"):
        np.savez(tmp_path / "a.npz", **(arrays | {key: np.array([{}], object)}))
        with pytest.raises(
            ValueError, match=r"a.npz cannot be read \(Object arrays cannot be loaded.*has objects in it"
        ):
            read(tmp_path / "a.npz")


def test_a_damaged_array_in_an_archive_names_the_file(tmp_path):
    content = bytearray(writers.npz(ROWS))
    content[content.index(b"NUMPY") + 130] ^= 0xFF  # in the times, so that their checksum is another
    refused(tmp_path, "a.npz", bytes(content), "cannot be read (Bad CRC-32 for file 't.npy'): it is truncated, damaged")


def test_numbers_of_a_header_are_decimal(tmp_path):
    for said in ("\u00b2", "9" * 5000):
        head = f"% evt 3.0\n% height {said}\n% width 9\n".encode("latin-1")
        refused(tmp_path, "a.raw", writers.evt3(ROWS, head), "does not say how large the sensor is: give sensor=(heigh")


def test_an_unknown_option(tmp_path):
    refused(tmp_path, "a.npz", writers.npz(ROWS), "NumPy archive has no option 'order'; wanted none", order="txyp")
    refused(tmp_path, "a.npy", writers.npy(ROWS), "NumPy array has no option 'ordr'; wanted order", ordr="txyp")
    refused(tmp_path, "a.aedat", writers.aedat2(ROWS), "AEDAT has no option 'camera'; wanted chip", camera="DAVIS346")


V2E = writers.aedat2_v2e([(5, 0, 0, 1)], 260, 346)


@pytest.mark.parametrize(
    ("content", "message", "options"),
    [
        (
            V2E,
            "has addresses of more than 16 bits, the first 0x40d59800, which the DVS128 does not write: it is of another "
            "camera, or of v2e, which names none: give it, such as chip='DAVIS346', or 'DAVIS240'",
            {},
        ),
        (V2E, "has addresses of more than 16 bits, the first 0x40d59800", {"sensor": (260, 346)}),
        (
            writers.aedat2(ROWS, b"# AEChip: some.CochleaAMS\r\n"),
            "recorded by the chip CochleaAMS; wanted one of DVS128, DAVIS240, DAVIS346, DAVIS640, of which addresses are "
            "known: if it writes those of another, give it as chip='DAVIS346'",
            {"sensor": (128, 128)},
        ),
        (writers.aedat2(ROWS, b"# AEChip: DVS1280\r\n"), "recorded by the chip DVS1280; wanted one of", {}),
        (V2E, "a.aedat: chip='DAVIS'; wanted one of DVS128, DAVIS240", {"chip": "DAVIS"}),
        (V2E, "a.aedat: chip=346; wanted one of DVS128, DAVIS240", {"chip": 346}),
        (writers.aedat3(ROWS), "AEDAT 3.1 has the same addresses for all chips: leave it out", {"chip": "DVS128"}),
    ],
)
def test_addresses_of_another_chip(content, message, options, tmp_path):
    refused(tmp_path, "a.aedat", content, message, **options)


def test_an_hdf5_file_with_another_offset_or_sensor(tmp_path):
    h5py = pytest.importorskip("h5py")
    cases = [
        ({"t_offset": [1, 2]}, {}, "a.h5: t_offset has 2 numbers; wanted one, in us"),
        ({"t_offset": 0.5}, {}, "a.h5: a time in t_offset is 0.5; wanted whole numbers"),
        ({"t_offset": b"5"}, {}, "a.h5: a time in t_offset is of type |S1; wanted whole numbers"),
        ({"t_offset/of": 5}, {}, "a.h5: t_offset has 0 numbers; wanted one, in us"),
        ({"t_offset": 2**63 - 2}, {}, "are together more than 63 bits; it is damaged"),
        ({}, {"height": "9", "width": "9"}, "; give height and width, whole numbers from 1 to 32767"),
        ({}, {"height": 9.5, "width": 9}, "; give height and width, whole numbers from 1 to 32767"),
    ]
    for arrays, sizes, message in cases:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["events"] = writers.fields(ROWS)
            for key, value in arrays.items():
                file[key] = value
            file.attrs.update(sizes)
        with pytest.raises(ValueError, match=re.escape(message)):
            read(tmp_path / "a.h5", **({} if sizes else INSIDE))
