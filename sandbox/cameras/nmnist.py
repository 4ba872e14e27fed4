"""The events of 40 bits of N-MNIST and N-Caltech101, `.bin`."""

from __future__ import annotations

import numpy as np

from sandbox.cameras.events import Events, Sensor, events_of

SENSOR = (34, 34)  # of N-MNIST; N-Caltech101 has no single one
EVENT = 5  # bytes
OVERFLOW = 240  # as a row: no event, the clock has passed another 2^13 us
TURN = 2**13  # [us]


def parse(content: bytes, name: str, sensor: Sensor | None = SENSOR) -> Events:
    """Parse events of 40 bits: column, row, polarity (1 bit) and time in us (23 bits, high byte first).

    Args:
        content: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel].

    Raises:
        ValueError: with the name of the file, for a length that is not a multiple of 5, or a pixel outside.

    >>> parse(bytes([3, 7, 0x80, 0x01, 0x02]), "one event").t.tolist()
    [258]

    Reference: the format, with its marks of overflow at row 240, is that read by tonic (`read_mnist_file`, code read,
    not used).
    """
    if not content or len(content) % EVENT:
        raise ValueError(
            f"{name} has {len(content)} bytes; wanted {EVENT} for each event: it is truncated; unpack its archive again"
        )
    x, y, high, middle, low = np.frombuffer(content, np.uint8).reshape(-1, EVENT).T.astype(np.int64)
    passed = np.cumsum(y == OVERFLOW) * TURN
    t, kept = ((high & 0x7F) << 16 | middle << 8 | low) + passed, y != OVERFLOW
    return events_of(t[kept], x[kept], y[kept], (high >> 7)[kept], SENSOR if sensor is None else sensor, name)
