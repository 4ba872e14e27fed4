"""Frames: how many events of each polarity a pixel had, in windows of time or of a number of events.

All functions return counts `[T, 2, height, width]` in float32, polarity 0 (darker) first, and lose no event: the sum of
all counts is the number of events.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.cameras.events import POLARITIES, Events

MOST = 2**31  # counts of all frames, 8 GiB
FARTHEST = 2**62  # start [us], so that differences of times are int64


def by_time(events: Events, window: int, *, steps: int | None = None, start: int | None = None) -> NDArray[np.float32]:
    """Count events in windows of fixed length: frame k has those of `start + k window <= t < start + (k + 1) window`.

    Args:
        events: of one recording.
        window: length [us], at least 1.
        steps: number of frames; later events belong to the last one. None: as many as the last event needs.
        start: beginning of the first frame [us]; None for the time of the first event.

    Raises:
        ValueError: for a window or number below 1, events before the start, frames larger than 8 GiB, and no events
            without a start and a number of frames.

    >>> from sandbox.cameras import events_of
    >>> two = events_of([10, 29], [0, 1], [0, 0], [1, 0], sensor=(1, 2))
    >>> by_time(two, window=10).sum((1, 2, 3)).tolist()
    [1.0, 1.0]
    """
    _positive(window=window, **({} if steps is None else {"steps": steps}))
    if start is None or steps is None:
        _some(events, "; or give start and steps, for frames of zeros")
    if start is not None and not (isinstance(start, Integral) and abs(start) <= FARTHEST):
        raise ValueError(f"start={start} us: give a whole number of at most 62 bits, or None")
    begin = int(events.t[0]) if start is None else int(start)
    if events.number and events.t[0] < begin:
        raise ValueError(f"start={start} us: the first event is at {events.t[0]} us; give an earlier start, or None")
    place = (events.t.astype(np.int64) - begin) // window
    length = steps if steps is not None else int(place[-1]) + 1
    return counted(events, np.minimum(place, length - 1), length)


def by_number(events: Events, number: int | None = None, *, steps: int | None = None) -> NDArray[np.float32]:
    """Count events in groups of the same number, in the order of time.

    Args:
        events: of one recording.
        number: events of a frame; the last frame has the rest.
        steps: number of frames in place of `number`: each has `n // steps` events, and the last one the rest too.

    Raises:
        ValueError: unless one of both is given, for numbers below 1, no events, and fewer events than frames.

    >>> from sandbox.cameras import events_of
    >>> five = events_of([1, 2, 3, 4, 5], [0] * 5, [0] * 5, [1] * 5, sensor=(1, 1))
    >>> by_number(five, 2).sum((1, 2, 3)).tolist(), by_number(five, steps=2).sum((1, 2, 3)).tolist()
    ([2.0, 2.0, 1.0], [2.0, 3.0])

    Reference: frames of a fixed number of events as SpikingJelly splits them (`split_by="number"`), compared in tests.
    """
    if (number is None) == (steps is None):
        raise ValueError(f"number={number}, steps={steps}: give the events of a frame, or the number of frames")
    if number is not None:
        _positive(number=number)
        _some(events)
        place = np.arange(events.number) // number
        return counted(events, place, int(place[-1]) + 1)
    assert steps is not None
    _positive(steps=steps)
    if events.number < steps:
        raise ValueError(f"steps={steps}: the recording has {events.number} events; give as many frames or fewer")
    return counted(events, np.minimum(np.arange(events.number) // (events.number // steps), steps - 1), steps)


def in_windows(events: Events, steps: int) -> NDArray[np.float32]:
    """Count events in `steps` windows of equal length, from the first event to the last.

    A window lasts `(last - first) // steps` us, at least 1, and the last one the rest too.

    Args:
        events: of one recording.
        steps: number of frames, at least 1.

    Raises:
        ValueError: for a number below 1, no events, and frames larger than 8 GiB.

    >>> from sandbox.cameras import events_of
    >>> three = events_of([0, 50, 100], [0] * 3, [0] * 3, [1] * 3, sensor=(1, 1))
    >>> in_windows(three, 2).sum((1, 2, 3)).tolist()
    [1.0, 2.0]

    Reference: `split_by="time"` of SpikingJelly, compared in tests.
    """
    _positive(steps=steps)
    _some(events)
    return by_time(events, max(1, int(events.t[-1] - events.t[0]) // steps), steps=steps)


def counted(events: Events, frame: NDArray[Any], frames: int) -> NDArray[np.float32]:
    """Count events whose frames are given, `[n]`, from 0 to below `frames`."""
    height, width = events.sensor
    shape = (frames, POLARITIES, height, width)
    size = frames * POLARITIES * height * width
    if size > MOST:
        raise ValueError(
            f"{frames} frames of {height} x {width} pixels take {4 * size / 2**30:.0f} GiB: give longer windows, or "
            "fewer frames"
        )
    place = ((frame.astype(np.int64) * POLARITIES + events.p) * height + events.y) * width + events.x
    return np.bincount(place, minlength=size).reshape(shape).astype(np.float32)


def _some(events: Events, more: str = "") -> None:
    """Raise ValueError where nothing is to be counted."""
    if not events.number:
        raise ValueError(
            f"no events to count in frames: the recording, or this part of it, is empty; leave it out{more}"
        )


def _positive(**sizes: int) -> None:
    """Raise ValueError with the name of the first that is not a whole number, of 1 to 62 bits."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or not 1 <= size <= FARTHEST:
            raise ValueError(f"{name}={size}: give a whole number, at least 1, of at most 62 bits")
