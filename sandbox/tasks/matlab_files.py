"""MATLAB files as plain dicts, lists and arrays, up to version 7 by SciPy, and of version 7.3 by the package h5py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sandbox.cameras.need import module

HDF5 = b"\x89HDF\r\n\x1a\n"
HEAD = 512  # bytes that MATLAB writes in front of HDF5


def read_matlab(path: Path, wanted: tuple[str, ...]) -> tuple[str, Any]:
    """Return the first variable of these that a file has, with its name.

    Structs become dicts, cells become lists, text becomes strings, and matrices of one row or column vectors.

    Raises:
        ValueError: for a file that cannot be read, and one without such a variable, with the names of those it has.
        ImportError: for version 7.3 without h5py.
    """
    held = path.read_bytes()[: HEAD + len(HDF5)]
    found = _hdf5(path) if HDF5 in (held[: len(HDF5)], held[HEAD:]) else _plain(path)
    name = next((each for each in wanted if each in found), None)
    if name is None:
        raise ValueError(f"{path} has the variables {', '.join(found) or 'none'}; wanted {' or '.join(wanted)}")
    return name, found[name]


def cells(value: Any) -> list[Any]:
    """Return the entries of a cell array; a cell array of one entry is read as that entry alone.

    >>> cells({"a": 1}), len(cells(np.array([1, 2], object)))
    ([{'a': 1}], 2)
    """
    if isinstance(value, np.ndarray) and value.dtype == object:
        return list(value.ravel())
    return value if isinstance(value, list) else [value]


def _plain(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        found = loadmat(path, simplify_cells=True)
    except Exception as error:  # SciPy raises many kinds for damaged files
        raise ValueError(
            f"{path} cannot be read ({error}): it is truncated or no MATLAB file; copy it again"
        ) from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _hdf5(path: Path) -> dict[str, Any]:
    h5py = module("h5py", "MATLAB 7.3")
    try:
        with h5py.File(path, "r") as file:
            return {name: _value(h5py, file, node) for name, node in file.items() if not name.startswith("#")}
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}): it is truncated; copy it again") from error


def _value(h5py: Any, file: Any, node: Any) -> Any:
    """Return a node of HDF5 as MATLAB meant it: axes are stored in reverse order, cells as references."""
    if isinstance(node, h5py.Group):
        return {name: _value(h5py, file, each) for name, each in node.items()}
    if node.dtype == h5py.ref_dtype:
        return [_value(h5py, file, file[each]) for each in node[()].T.ravel()]
    if node.attrs.get("MATLAB_class") == b"char":
        return "".join(map(chr, node[()].T.ravel()))
    found = np.squeeze(node[()].T)
    return found if found.ndim else found.item()
