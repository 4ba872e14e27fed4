"""Events in files of arrays: `.npy`, `.npz`, and HDF5 by the package h5py."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.cameras.events import LARGEST, Events, Sensor, events_of, require_sensor, whole
from sandbox.cameras.need import module

NAMES = {  # what arrays and columns of them are called
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities", "on"),
}
WANTED = "wanted t, x, y and p"


def npy(content: bytes, name: str, sensor: Sensor | None = None, order: str = "txyp") -> Events:
    """Parse a `.npy` file: an array with the fields t, x, y and p, or columns `[n, 4]` in the given order.

    Args:
        content: of the file; objects in it are refused, because reading them runs code.
        name: of the file, for messages.
        sensor: height and width [pixel]; the file does not say it.
        order: of the columns, where these have no names: four letters.

    Raises:
        ValueError: with the name of the file, for other arrays and orders, and as `events_of` does.
    """
    rows = _loaded(content, name)
    if not isinstance(rows, np.ndarray):
        raise ValueError(f"{name} is an archive of arrays: rename it to .npz")
    if rows.dtype.names:
        return _named(rows.dtype.names, rows.__getitem__, name, sensor)
    if not isinstance(order, str) or sorted(order) != sorted("txyp"):
        raise ValueError(f"order={order!r}: give the letters t, x, y and p in the order of the columns")
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{name} has an array of shape {rows.shape} without names of columns; wanted [n, 4]")
    found = dict(zip(order, rows.T, strict=True))
    return events_of(found["t"], found["x"], found["y"], found["p"], sensor, name)


def npz(content: bytes, name: str, sensor: Sensor | None = None) -> Events:
    """Parse a `.npz` file with the arrays t, x, y and p, and perhaps `sensor`, its height and width.

    Args:
        content: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel]; None for those of the file.

    Raises:
        ValueError: with the name of the file, for missing arrays, and as `events_of` does.
    """
    found = _loaded(content, name)
    if isinstance(found, np.ndarray):
        raise ValueError(f"{name} is a single array: rename it to .npy")
    with found:
        if sensor is None and "sensor" in found:
            sensor = require_sensor(_item(found, "sensor", name), name)
        return _named(found.files, lambda key: _item(found, key, name), name, sensor)


def hdf5(path: Path, name: str, sensor: Sensor | None = None) -> Events:
    """Read an HDF5 file in which one group has the arrays t, x, y and p, or one array has these fields.

    So are `CD/events` of Prophesee and `events` of DSEC, whose `t_offset` is added to the times.

    Args:
        path: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel]; None for the attributes `height` and `width` of the file.

    Raises:
        ValueError: with the name of the file, if none or several of its groups are of this kind, and as `events_of`
            does.
        ImportError: without the package h5py.
    """
    h5py = module("h5py", "HDF5")
    try:
        with h5py.File(path, "r") as file:
            places = _places(h5py, file)
            if len(places) != 1:
                listed: list[str] = []
                file.visit(listed.append)
                said = f"{', '.join(places)} are several" if places else f"it has {', '.join(listed) or 'nothing'}"
                raise ValueError(f"{name}: {WANTED} in one group, or in one array with these fields; {said}")
            held = file[places[0]]
            fields = held.dtype.names if isinstance(held, h5py.Dataset) else list(held)
            rows = held[()] if isinstance(held, h5py.Dataset) else held
            if sensor is None and {"height", "width"} <= set(file.attrs):
                sensor = require_sensor([np.squeeze(file.attrs[key]) for key in ("height", "width")], name)
            offset = _offset(file["t_offset"], name) if "t_offset" in file else 0
            return _named(fields, lambda key: rows[key][()], name, sensor, offset)
    except OSError as error:  # of h5py, for truncated files and for compression it does not know
        raise ValueError(f"{name} cannot be read ({error}): it is truncated, or compressed by a plug-in") from error


def _places(h5py: Any, file: Any) -> list[str]:
    """Return the groups and arrays of an HDF5 file that have t, x, y and p."""
    found: list[str] = []

    def look(place: str, item: Any) -> None:
        group = not isinstance(item, h5py.Dataset)
        fields = [key for key in item if hasattr(item.get(key), "dtype")] if group else item.dtype.names or ()
        if not _missing(fields):
            found.append(place)

    look("/", file)
    file.visititems(look)
    return found


def _offset(held: Any, name: str) -> int:
    """Return the one number that is added to all times."""
    values = np.ravel(held[()]) if hasattr(held, "dtype") else np.zeros(0)
    if values.size != 1:
        raise ValueError(f"{name}: t_offset has {values.size} numbers; wanted one, in us")
    return int(whole(values, "time in t_offset", name)[0])


def _loaded(content: bytes, name: str) -> Any:
    """Return what NumPy reads from bytes, without running any code in them."""
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds for damaged files
        raise _damaged(name, error) from error


def _item(archive: Any, key: str, name: str) -> NDArray[Any]:
    """Return an array of an archive, which NumPy reads only now."""
    try:
        found: NDArray[Any] = archive[key]
    except Exception as error:  # as for whole files
        raise _damaged(name, error) from error
    return found


def _damaged(name: str, error: Exception) -> ValueError:
    """Return the error for a file that NumPy does not read."""
    return ValueError(f"{name} cannot be read ({error}): it is truncated, damaged or has objects in it")


def _missing(fields: Collection[str]) -> list[str]:
    """Return which of t, x, y and p have no name among these."""
    return [key for key, names in NAMES.items() if not set(names) & set(fields)]


def _named(
    fields: Collection[str], get: Callable[[str], Any], name: str, sensor: Sensor | None, offset: int = 0
) -> Events:
    """Return the events of arrays with names."""
    if missing := _missing(fields):
        raise ValueError(f"{name} has {', '.join(fields)}; {WANTED}, and {', '.join(missing)} is missing")
    found = {key: get(next(each for each in names if each in fields)) for key, names in NAMES.items()}
    t = found["t"]
    if offset and t.size:
        t = whole(t, "time", name)
        if not -LARGEST <= int(t.min()) + offset <= int(t.max()) + offset < LARGEST:
            raise ValueError(f"{name}: a time and t_offset, {offset} us, are together more than 63 bits; it is damaged")
        t = t + offset
    return events_of(t, found["x"], found["y"], found["p"], sensor, name)
