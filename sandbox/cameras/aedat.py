"""AEDAT 2, 3.1 and 4, the formats of jAER, cAER and DV, told apart by their first line, `#!AER-DAT2.0`.

AEDAT 4 is decoded by the package aedat, because it is FlatBuffers compressed with LZ4 or Zstandard.

Reference: iniVation, "AEDAT File Formats", docs.inivation.com/software/software-advanced-usage/file-formats; read.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.cameras.events import Events, Sensor, events_of
from sandbox.cameras.need import module

MAGIC = b"#!AER-DAT"
LINE = re.compile(rb"#[^\r\n\x00-\x08\x0e-\x1f]*\r?\n")
END = b"#!END-HEADER\r\n"  # of AEDAT 3.1
PACKET = struct.Struct("<hhiiiiii")  # type, source, size, offset of the time, turns, capacity, number, valid
POLARITY = 1  # type of a packet
EVENT = 8  # bytes of its events
CHIPS = {"DVS128": (128, 128), "DAVIS240": (180, 240), "DAVIS346": (260, 346), "DAVIS640": (480, 640)}


def aedat(path: Path, name: str, sensor: Sensor | None = None, chip: str | None = None) -> Events:
    """Read an AEDAT file of any of these versions.

    Args:
        path: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel]; None for those of the camera that the header names.
        chip: of AEDAT 2, one of `CHIPS`, which says where an address has its column and row; None for that of the
            header, or the DVS128 without one. Other versions need none.

    Raises:
        ValueError: with the name of the file, for other versions, unknown chips, addresses that a chip does not write,
            files that are cut off, and as `events_of` does.
        ImportError: for AEDAT 4 without the package aedat.
    """
    with open(path, "rb") as file:
        first = file.readline(80)
    version = first.removeprefix(MAGIC).strip().decode("latin-1") if first.startswith(MAGIC) else ""
    if version not in ("2.0", "3.1", "4.0"):
        raise ValueError(
            f"{name} begins with {first[:16]!r}; wanted '#!AER-DAT2.0', '#!AER-DAT3.1' or '#!AER-DAT4.0': "
            + ("convert it with DV" if version else "it is a different file, or AEDAT 1, which has no such line")
        )
    if version == "2.0":
        return aedat2(path.read_bytes(), name, sensor, chip)
    if chip is not None:
        raise ValueError(
            f"{name}: chip={chip!r}, but AEDAT {version} has the same addresses for all chips: leave it out"
        )
    return aedat4(path, name, sensor) if version == "4.0" else aedat3(path.read_bytes(), name, sensor)


def aedat2(content: bytes, name: str, sensor: Sensor | None = None, chip: str | None = None) -> Events:
    """Parse AEDAT 2: addresses and times [us] of 32 bits each, high byte first.

    Without a line on another chip the camera is the DVS128, whose address has a row (bits 14 to 8), a mirrored column
    (7 to 1) and the polarity (bit 0: 0 for brighter); external events, with bit 15, are left out, and bits above it
    are refused. That of a DAVIS has a row (30 to 22), a mirrored column (21 to 12) and the polarity (bit 11: 1 for
    brighter); its other events, with bit 31 or 10, are left out. v2e writes addresses of a DAVIS and names no chip.
    Rows count from the bottom, as in jAER.

    Reference: `dat2mat.m` and `mat2dat.m` of the CAVIAR project, which the authors of CIFAR10-DVS name, for the
    DVS128 (read, not used); iniVation's page gives its polarity the other way round.
    """
    lines, place = _header(content)
    named = re.search(rb"AEChip:?\s*(?:\S*\.)?(\w+)", b"".join(lines))
    recorded = named[1].decode() if named else "DVS128"
    known = _chip(recorded if chip is None else str(chip))
    if known is None:
        given = f"{name} was recorded by the chip {recorded}" if chip is None else f"{name}: chip={chip!r}"
        raise ValueError(
            f"{given}; wanted one of {', '.join(CHIPS)}, of which addresses are "
            "known: if it writes those of another, give it as chip='DAVIS346'"
        )
    if over := (len(content) - place) % 8:
        raise ValueError(f"{name} ends {over} bytes into an event of 8: it is truncated; copy it again")
    words = np.frombuffer(content, ">i4", offset=place).reshape(-1, 2).astype(np.int64)
    address, t = words[:, 0] & 0xFFFFFFFF, words[:, 1]
    davis, width = known.startswith("DAVIS"), CHIPS[known][1]
    if not davis and (more := address[address >> 16 > 0]).size:
        raise ValueError(
            f"{name} has addresses of more than 16 bits, the first {more[0]:#x}, which the {known} does not write: it "
            "is of another camera, or of v2e, which names none: give it, such as chip='DAVIS346', or 'DAVIS240'"
        )
    change = (address >> 31 == 0) & (address >> 10 & 1 == 0) if davis else address >> 15 == 0
    address, t = address[change], t[change]
    if davis:
        x, y, p = width - 1 - (address >> 12 & 0x3FF), address >> 22 & 0x1FF, address >> 11 & 1
    else:
        x, y, p = width - 1 - (address >> 1 & 0x7F), address >> 8 & 0x7F, 1 - (address & 1)
    return events_of(t, x, y, p, CHIPS[known] if sensor is None else sensor, name)


def aedat3(content: bytes, name: str, sensor: Sensor | None = None) -> Events:
    """Parse AEDAT 3.1: packets of events, of which those of polarities are read and those marked invalid left out.

    A packet has a header of 28 bytes. An event has 32 bits, of which bit 0 says whether it is valid, bit 1 is the
    polarity, bits 16 to 2 are the row and 31 to 17 the column, and 31 bits of time [us], above which are the turns of
    the packet. Rows count from the top.
    """
    lines, place = _header(content)
    if END not in content[:place]:
        raise ValueError(f"{name} has no line {END.strip().decode()}: it is truncated in its header; copy it again")
    source = next((line for line in lines if line.startswith(b"#Source")), b"").rpartition(b":")[2]
    parts = []
    while place < len(content):
        if place + PACKET.size > len(content):
            raise ValueError(f"{name} ends inside the header of a packet: it is truncated; copy it again")
        kind, _, size, _, turns, capacity, number, _ = PACKET.unpack_from(content, place)
        place += PACKET.size
        if min(size, capacity, number) < 0 or number > capacity or place + size * capacity > len(content):
            raise ValueError(
                f"{name} announces a packet of {capacity} events of {size} bytes and has {len(content) - place} bytes "
                "more: it is truncated or damaged; copy it again"
            )
        if kind == POLARITY and size != EVENT:
            raise ValueError(f"{name} has polarities of {size} bytes; wanted {EVENT}: it is damaged; copy it again")
        if kind == POLARITY:
            words = np.frombuffer(content, "<u4", 2 * number, place).reshape(-1, 2).astype(np.int64)
            parts.append(np.stack([words[:, 0], words[:, 1] | turns << 31]))
        place += size * capacity
    data, t = np.concatenate(parts, 1) if parts else np.zeros((2, 0), np.int64)
    valid = data & 1 == 1
    data, t = data[valid], t[valid]
    known = _chip(source.strip().decode("latin-1"))
    found = CHIPS[known] if sensor is None and known else sensor
    return events_of(t, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1, found, name)


def aedat4(path: Path, name: str, sensor: Sensor | None = None) -> Events:
    """Read the first stream of events of an AEDAT 4 file, by the package aedat.

    Times are those of the file, which count from 1970 in recordings of DV.
    """
    try:
        decoder = module("aedat", "AEDAT 4").Decoder(str(path))
        streams = {key: value for key, value in decoder.id_to_stream().items() if value["type"] == "events"}
        if not streams:
            raise ValueError(f"{name} has no stream of events; it has {_kinds(decoder)}")
        key = min(streams)
        parts = [packet["events"] for packet in decoder if packet["stream_id"] == key]
    except RuntimeError as error:  # of the package, for whatever is wrong with a file
        raise ValueError(f"{name} cannot be read ({error}): it is truncated or damaged; copy it again") from error
    whole: Any = np.concatenate(parts) if parts else {part: np.zeros(0, np.int64) for part in ("t", "x", "y", "on")}
    size = (streams[key]["height"], streams[key]["width"])
    return events_of(whole["t"], whole["x"], whole["y"], whole["on"], size if sensor is None else sensor, name)


def _kinds(decoder: Any) -> str:
    return ", ".join(sorted({stream["type"] for stream in decoder.id_to_stream().values()})) or "none"


def _header(content: bytes) -> tuple[list[bytes], int]:
    """Return the lines of text at the beginning, and where the data begin."""
    lines, place = [], 0
    while match := LINE.match(content, place):
        lines.append(match[0])
        place = match.end()
        if match[0] == END:
            break
    return lines, place


def _chip(name: str) -> str | None:
    """Return the one of `CHIPS` with which a name begins, "DAVIS346" for "Davis346blue"."""
    return next((chip for chip in CHIPS if re.match(rf"{chip}(?!\d)", name, re.IGNORECASE)), None)
