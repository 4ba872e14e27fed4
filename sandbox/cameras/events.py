"""Events of a camera as arrays, checked and sorted by time."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Sensor: TypeAlias = tuple[int, int]  # height and width [pixel]
POLARITIES = 2  # darker, brighter
LARGEST = 2**63  # the first number that int64 does not hold


class Events(NamedTuple):
    """Events of one recording: `n` changes of brightness, in the order of time.

    Args:
        t: times [us], `[n]` whole numbers that never fall.
        x: columns, `[n]`, from 0 to below the width.
        y: rows, `[n]`, from 0 to below the height.
        p: polarities, `[n]`, 0 for darker and 1 for brighter.
        sensor: height and width of the camera [pixel].

    >>> events_of([5, 3], [0, 1], [0, 1], [1, 0], sensor=(2, 2)).t.tolist()
    [3, 5]
    """

    t: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    p: NDArray[Any]
    sensor: Sensor

    @property
    def number(self) -> int:
        """Number of events; `len` is that of the tuple."""
        return len(self.t)

    def between(self, start: int, end: int) -> Events:
        """Return the events of `start <= t < end` [us]."""
        first, last = np.searchsorted(self.t, [start, end])
        return Events(self.t[first:last], self.x[first:last], self.y[first:last], self.p[first:last], self.sensor)


def events_of(t: Any, x: Any, y: Any, p: Any, sensor: Sensor | None, name: str = "events given") -> Events:
    """Return events that are checked, and sorted by time; those of one time keep their order.

    Args:
        t: times [us], `[n]` whole numbers of at least 0.
        x: columns, `[n]`.
        y: rows, `[n]`.
        p: polarities, `[n]`: 0 or 1, -1 or 1, or bool.
        sensor: height and width [pixel]; None is refused, with the largest column and row.
        name: of the recording, for messages.

    Raises:
        ValueError: for no events, arrays of different length or several dimensions, times below 0 or with fractions,
            what is not a number, other polarities, and pixels outside of the sensor.

    >>> events_of([0], [3], [1], [True], sensor=(2, 4)).p.tolist()
    [1]
    >>> events_of([0], [3], [1], [1], sensor=(4, 2))
    Traceback (most recent call last):
    ...
    ValueError: events given: events reach column 3 and row 1, and the sensor has 2 columns and 4 rows: ...
    """
    given = {"t": t, "x": x, "y": y, "p": p}
    times, columns, rows, signs = (_flat(key, part, name) for key, part in given.items())
    sizes = {"t": len(times), "x": len(columns), "y": len(rows), "p": len(signs)}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{key} has {size}" for key, size in sizes.items())
        raise ValueError(f"{name}: {said}; wanted one of each for every event")
    if not sizes["t"]:
        raise ValueError(f"{name}: no events; an empty recording has nothing to learn from: leave it out")
    times = whole(times, "time", name)
    if times.min() < 0:
        raise ValueError(
            f"{name}: {int((times < 0).sum())} of {len(times)} times are negative, the first {times[times < 0][0]} us; "
            "wanted whole microseconds from 0: subtract the first time, or, if a clock of 32 bits has turned, add 2^32"
        )
    columns, rows = whole(columns, "column", name), whole(rows, "row", name)
    size = _inside(columns, rows, sensor, name)
    signs = _polarities(signs, name)
    if (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        times, columns, rows, signs = times[order], columns[order], rows[order], signs[order]
    return Events(times, columns.astype(np.int16), rows.astype(np.int16), signs, size)


def whole(values: NDArray[Any], what: str, name: str) -> NDArray[np.int64]:
    """Return numbers as int64; raise ValueError for fractions, for more than 63 bits, and for anything but numbers.

    >>> whole(np.array([3.0, 4.0]), "time", "events given").tolist()
    [3, 4]
    """
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name}: a {what} is of type {values.dtype}; wanted whole numbers")
    large = values >= np.uint64(LARGEST) if values.dtype == np.uint64 else np.zeros(len(values), bool)
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        large = np.abs(values) >= LARGEST
        odd = values[~np.isfinite(values) | (values != np.round(values))]
        unit = "; times are in microseconds: multiply seconds by 1e6, and round" if what == "time" else ""
        if odd.size:
            raise ValueError(f"{name}: a {what} is {odd[0]:g}; wanted whole numbers{unit}")
    if large.any():
        raise ValueError(f"{name}: a {what} is {values[large][0]}; wanted at most 63 bits")
    return values.astype(np.int64)


def require_sensor(sensor: Any, name: str) -> Sensor:
    """Return a height and width as two numbers; raise ValueError for anything else.

    >>> require_sensor(np.array([180, 240]), "events given")
    (180, 240)
    """
    try:
        size = np.asarray(sensor)
    except ValueError:  # lists of different length
        size = np.zeros(0)
    fits = size.shape == (2,) and size.dtype.kind in "iuf" and bool(((size >= 1) & (size < 2**15)).all())
    if not fits or (size != np.round(size)).any():
        raise ValueError(
            f"{name}: the sensor is {sensor!r}; give height and width, whole numbers from 1 to {2**15 - 1}"
        )
    return int(size[0]), int(size[1])


def _flat(key: str, values: Any, name: str) -> NDArray[Any]:
    """Return an array `[n]`, or one with a dimension of n and others of 1, as `[n]`."""
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # lists of different length, tensors that are elsewhere
        raise ValueError(
            f"{name}: {key} cannot be read as an array ({error}); wanted a list or an array, [n]"
        ) from error
    if found.size and found.size != max(found.shape, default=1):
        raise ValueError(f"{name}: {key} has shape {found.shape}; wanted [n], a number for each event")
    return found.reshape(-1)


def _inside(x: NDArray[np.int64], y: NDArray[np.int64], sensor: Sensor | None, name: str) -> Sensor:
    """Return the size of the sensor; raise ValueError unless all pixels are on it."""
    column, row = int(x.max()), int(y.max())
    if min(x.min(), y.min()) < 0:
        raise ValueError(f"{name}: there is a column {x.min()} and a row {y.min()}; wanted pixels counted from 0")
    if sensor is None:
        raise ValueError(
            f"{name}: the file does not say how large the sensor is: give sensor=(height, width); its events reach row "
            f"{row} and column {column}"
        )
    height, width = require_sensor(sensor, name)
    if row < height and column < width:
        return height, width
    exchanged = column < height and row < width
    raise ValueError(
        f"{name}: events reach column {column} and row {row}, and the sensor has {width} columns and {height} rows: "
        + (
            f"with x and y exchanged they fit; give sensor=({width}, {height}), height first, or exchange x and y"
            if exchanged
            else f"this is a recording of another camera, or damaged; for a larger camera give sensor=(height, width), "
            f"at least ({row + 1}, {column + 1})"
        )
    )


def _polarities(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return polarities as 0 and 1."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: polarities are of type {values.dtype}; wanted 0 and 1, or -1 and 1")
    found = set(np.unique(values).tolist())
    if not (found <= {0, 1} or found <= {-1, 1}):
        some = ", ".join(f"{value:g}" for value in sorted(found)[:4])
        raise ValueError(f"{name}: polarities are {some}; wanted 0 and 1, or -1 and 1: are the columns in order?")
    return (values > 0).astype(np.uint8)
