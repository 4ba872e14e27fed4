"""Recordings of Prophesee cameras: their header, DAT files, and EVT 2.0 in `.raw` files.

All begin with lines of text, `% key value`. Times of 32 bits (DAT), 34 bits (EVT 2) or 24 bits (EVT 3) turn when a
camera runs long; a fall of more than half of their range is taken for a turn.

Reference: Metavision SDK documentation, "DAT File Format", "EVT 2.0 Format" and "EVT 3.0 Format" at
docs.prophesee.ai/stable/data; read in parts.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.cameras.clock import unturned
from sandbox.cameras.events import Events, Sensor, events_of
from sandbox.cameras.evt3 import decoded as evt3

CHANGES = (0x00, 0x0C)  # types of events in DAT files that are changes of brightness: Event2d, EventCD
PLUGINS = {"gen31": (480, 640), "gen41": (720, 1280)}  # sensors by the plugin that recorded, where nothing else says it
DIGITS = 9  # of a height or width; `int` refuses thousands
TIME_HIGH = 8  # type of a word of EVT 2


def header(content: bytes, name: str) -> tuple[dict[str, str], int]:
    r"""Return the keys of a header, in lower case, and where the data begin; raise ValueError where there is none.

    >>> header(b"% evt 3.0\n% geometry 640x480\n% end\n\x00\x01", "short.raw")
    ({'evt': '3.0', 'geometry': '640x480'}, 35)
    """
    found: dict[str, str] = {}
    place = 0
    while content[place : place + 2] == b"% ":
        end = content.find(b"\n", place)
        line = content[place + 2 : end]
        if end < 0 or not all(character >= 32 or character in b"\t\r" for character in line):
            break  # the data may begin with a percent sign
        place = end + 1
        key, _, value = line.decode("latin-1").strip().partition(" ")
        if (key, value) == ("end", ""):
            break
        found[key.lower()] = value.strip()
    if not found:
        raise ValueError(
            f"{name} begins with {content[:8]!r}; wanted the header of a Prophesee camera, '% ' and a key: it is a "
            "different file, or its header was removed"
        )
    return found, place


def sensor_of(keys: dict[str, str]) -> Sensor | None:
    """Return the height and width that a header says, or None.

    >>> sensor_of({"format": "EVT3;height=720;width=1280"}), sensor_of({"geometry": "640x480"}), sensor_of({})
    ((720, 1280), (480, 640), None)
    """
    said = {**keys, **dict(re.findall(r"(height|width)=(\d+)", keys.get("format", "")))}
    if match := re.fullmatch(r"(\d+)x(\d+)", keys.get("geometry", "")):
        said |= {"width": match[1], "height": match[2]}
    height, width = said.get("height", ""), said.get("width", "")
    if all(size.isdecimal() and len(size) <= DIGITS for size in (height, width)):
        return int(height), int(width)
    plugin = re.search("|".join(PLUGINS), keys.get("plugin_name", ""))
    return PLUGINS[plugin[0]] if plugin else None


def dat(content: bytes, name: str, sensor: Sensor | None = None) -> Events:
    """Parse a DAT file: events of a time in us (32 bits), and column (14), row (14) and polarity (4 bits).

    Args:
        content: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel]; None for those in the header, which files of 2017 such as N-CARS lack.

    Raises:
        ValueError: with the name of the file, for another version, events that are no changes of brightness, a file
            that ends inside an event, and as `events_of` does.
    """
    keys, place = header(content, name)
    if keys.get("version", "2") != "2":
        raise ValueError(f"{name} is a DAT file of version {keys['version']}; wanted version 2: convert it")
    if len(content) < place + 2:
        raise ValueError(f"{name} ends behind its header: it is truncated; copy it again")
    kind, size = content[place], content[place + 1]
    if kind not in CHANGES or size != 8:
        raise ValueError(
            f"{name} has events of type 0x{kind:02x} and {size} bytes; wanted 0x00 or 0x0c, changes of brightness, and "
            "8 bytes: triggers and others are not read"
        )
    words = _words(content, place + 2, 8, name).view("<u4").reshape(-1, 2)
    data = words[:, 1].astype(np.int64)
    t = unturned(words[:, 0].astype(np.int64), 32)
    found = sensor_of(keys) if sensor is None else sensor
    return events_of(t, data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28 > 0, found, name)


def raw(content: bytes, name: str, sensor: Sensor | None = None) -> Events:
    """Parse a `.raw` file with events in EVT 2.0 or EVT 3.0.

    Events before the first word that sets the upper bits of the clock have no time, and are left out.

    Args:
        content: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel]; None for those in the header.

    Raises:
        ValueError: with the name of the file, for other encodings, a file that ends inside a word, and as `events_of`
            does.
    """
    keys, place = header(content, name)
    encoding = keys.get("format", "").split(";")[0] or f"EVT{keys.get('evt', '?')}"
    version = encoding.upper().removeprefix("EVT").removesuffix(".0")
    if keys.get("endianness", "little") != "little":
        raise ValueError(f"{name} has words in {keys['endianness']} endian; wanted little endian: convert it")
    if version not in ("2", "3"):
        raise ValueError(
            f"{name} is encoded as {encoding}; wanted EVT 2 or EVT 3, as '% evt 3.0' or '% format EVT3;...' says: "
            "convert it with metavision_file_to_dat"
        )
    if version == "2":
        t, x, y, p = evt2(_words(content, place, 4, name).view("<u4"))
    else:
        t, x, y, p = evt3(_words(content, place, 2, name).view("<u2"))
    return events_of(t, x, y, p, sensor_of(keys) if sensor is None else sensor, name)


def evt2(words: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Return t, x, y and p of the words of EVT 2.0.

    The type is in bits 31 to 28. Types 0 (darker) and 1 (brighter) have 6 bits of time, the column and the row, of 11
    bits each; type 8 sets the upper 28 bits of the time.
    """
    kind, words = words >> 28, words.astype(np.int64)
    clock = np.maximum.accumulate(np.where(kind == TIME_HIGH, np.arange(len(words)), -1))
    event = (kind <= 1) & (clock >= 0)
    upper = np.zeros(len(words), np.int64)
    upper[kind == TIME_HIGH] = unturned(words[kind == TIME_HIGH] & 0xFFFFFFF, 28)
    found = words[event]
    return upper[clock[event]] << 6 | found >> 22 & 0x3F, found >> 11 & 0x7FF, found & 0x7FF, kind[event]


def _words(content: bytes, place: int, size: int, name: str) -> NDArray[np.uint8]:
    """Return the bytes behind a header; raise ValueError for a part of a word."""
    over = (len(content) - place) % size
    if over:
        raise ValueError(f"{name} ends {over} bytes into a word of {size}: it is truncated; copy it again")
    return np.frombuffer(content, np.uint8, offset=place)
