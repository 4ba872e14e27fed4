"""Writers of event files, from the public descriptions of their formats: rows of `(t, x, y, p)` become bytes."""

from __future__ import annotations

import io
import itertools
import struct

import numpy as np

DAVIS_LINE = b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"


def nmnist(rows):
    """40 bits an event, as one number."""
    return b"".join((x << 32 | y << 24 | p << 23 | t).to_bytes(5, "big") for t, x, y, p in rows)


def aedat2(rows, head=b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n"):
    """The DVS128: `mat2dat.m` writes column 127 - x, row y, and 0 for brighter."""
    data = b"".join(struct.pack(">ii", y << 8 | (127 - x) << 1 | (1 - p), t) for t, x, y, p in rows)
    return b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n" + head + data


def aedat2_davis(rows, other=()):
    """A DAVIS240; `other` are whole addresses of events that are no changes of brightness."""
    data = b"".join(struct.pack(">ii", y << 22 | (239 - x) << 12 | p << 11, t) for t, x, y, p in rows)
    return b"#!AER-DAT2.0\r\n" + DAVIS_LINE + data + b"".join(struct.pack(">Ii", word, 0) for word in other)


def aedat2_v2e(rows, height, width):
    """As v2e writes a DAVIS, whose pixels count from the upper left: no line names the chip."""
    words = [(height - 1 - y) << 22 | (width - 1 - x) << 12 | p << 11 for _, x, y, p in rows]
    data = b"".join(struct.pack(">ii", word, row[0]) for word, row in zip(words, rows, strict=True))
    return b"#!AER-DAT2.0\r\n# Timestamps tick is 1 us\r\n" + data


def aedat3(rows, invalid=(), turns=0, camera=b"DVS128", size=3, width=8):
    """Packets of three events each, a packet of another type among them."""
    head = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: " + camera + b"\r\n#!END-HEADER\r\n"
    special = struct.pack("<hhiiiiii", 0, 1, 8, 4, turns, 1, 1, 1) + struct.pack("<II", 0xFFFFFFFF, 1)
    words = [(1 | p << 1 | y << 2 | x << 17, t) for t, x, y, p in rows]
    words += [(p << 1 | y << 2 | x << 17, t) for t, x, y, p in invalid]
    packets = []
    for start in range(0, len(words), size):
        part = words[start : start + size]
        header = struct.pack("<hhiiiiii", 1, 1, width, 4, turns, len(part), len(part), len(part))
        packets.append(header + b"".join(struct.pack("<II", *word) for word in part))
    return head + special.join(packets)


def aedat4(rows, height=34, width=34):
    """Without compression: FlatBuffers IOHeader and EventPacket, each with its size before it."""
    xml = (
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        '<node name="0" path="/mainloop/Recorder/outInfo/0/"><attr key="compression" type="string">NONE</attr>'
        '<attr key="typeIdentifier" type="string">EVTS</attr><node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        f'<attr key="sizeX" type="int">{width}</attr><attr key="sizeY" type="int">{height}</attr>'
        "</node></node></node></dv>"
    ).encode()
    string = struct.pack("<i", len(xml)) + xml + b"\x00" * (4 - len(xml) % 4)
    vtable = struct.pack("<5H", 10, 20, 4, 12, 8)  # its size, that of the table, and where its three fields are
    table = struct.pack("<iiIq", 10, 0, 12, -1)
    header = struct.pack("<I4s", 24, b"IOHE") + b"\x00" * 6 + vtable + table + string
    events = b"".join(struct.pack("<qhh?3x", t, x, y, bool(p)) for t, x, y, p in rows)
    body = struct.pack("<I4s", 20, b"EVTS") + b"\x00" * 6 + struct.pack("<3H", 6, 8, 4)
    body += struct.pack("<iI", 6, 8) + b"\x00" * 4 + struct.pack("<I", len(rows)) + events
    packet = struct.pack("<I", len(body)) + body
    return b"#!AER-DAT4.0\r\n" + struct.pack("<I", len(header)) + header + struct.pack("<ii", 0, len(packet)) + packet


def dat(rows, head=b"% Data file containing CD events\n% Version 2\n% Width 640\n% Height 480\n", kind=0x0C):
    data = b"".join(struct.pack("<II", t % 2**32, x | y << 14 | p << 28) for t, x, y, p in rows)
    return head + bytes([kind, 8]) + data


def evt2(rows, head=b"% evt 2.0\n% geometry 640x480\n% end\n"):
    """A word for the upper bits of the time wherever these change, and a trigger in the middle."""
    words, upper = [], None
    for t, x, y, p in rows:
        if t >> 6 != upper:
            upper = t >> 6
            words += [8 << 28 | upper % 2**28, 0xA << 28 | 1]
        words.append(p << 28 | (t & 0x3F) << 22 | x << 11 | y)
    return head + b"".join(struct.pack("<I", word) for word in words)


def evt3(rows, head=b"% evt 3.0\n% format EVT3;height=480;width=640\n% end\n"):
    """Words for what changes; events of one time, row and polarity within 32 columns as a base and 12 + 12 + 8 bits."""
    words, now, row = [], None, None
    for (t, y, p), group in itertools.groupby(rows, lambda row: (row[0], row[2], row[3])):
        columns = [x for _, x, _, _ in group]
        if now is None or t >> 12 != now >> 12:
            words.append(0x8000 | (t >> 12) % 4096)
        if now is None or t % 4096 != now % 4096:
            words.append(0x6000 | t % 4096)
        if y != row:
            words.append(y)
        now, row = t, y
        if len(columns) > 1 and columns == sorted(set(columns)) and columns[-1] - columns[0] < 32:
            bits = sum(1 << (x - columns[0]) for x in columns)
            words += [0x3000 | p << 11 | columns[0], 0x4000 | bits & 0xFFF, 0x4000 | bits >> 12 & 0xFFF]
            words.append(0x5000 | bits >> 24)
        else:
            words += [0x2000 | p << 11 | x for x in columns]
    return head + b"".join(struct.pack("<H", word) for word in words)


def matlab(**variables):
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def touches(rows):
    """ST-MNIST: a column for each event, 1 or -1 at its taxel, and the time [s] below."""
    spikes = np.zeros((101, len(rows)))
    for place, (t, x, y, p) in enumerate(rows):
        spikes[10 * y + x, place], spikes[100, place] = 2 * p - 1, t / 1e6
    return matlab(spiketrain=spikes)


def converted(rows):
    """`dat2mat.m`: t, 0, -1, x, y, and a polarity of -1 or 1."""
    return matlab(out1=np.array([(t, 0, -1, x, y, 2 * p - 1) for t, x, y, p in rows], float))


def fields(rows):
    return np.array(rows, dtype=[("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "?")])


def npy(rows):
    buffer = io.BytesIO()
    np.save(buffer, fields(rows))
    return buffer.getvalue()


def npz(rows, **more):
    buffer = io.BytesIO()
    np.savez(buffer, **{name: fields(rows)[name] for name in "txyp"}, **more)
    return buffer.getvalue()
