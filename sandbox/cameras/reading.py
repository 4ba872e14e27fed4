"""Read a recording of any format, by the suffix of its file and the bytes at its beginning."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.cameras.aedat import MAGIC, aedat
from sandbox.cameras.arrays import hdf5, npy, npz
from sandbox.cameras.events import Events, Sensor
from sandbox.cameras.matlab import mat
from sandbox.cameras.nmnist import parse
from sandbox.cameras.prophesee import dat, raw


class Format(NamedTuple):
    """How a format is called, begins, and is read."""

    name: str
    magic: bytes  # empty where a file begins with its first event
    read: Callable[..., Events]
    whole: bool = True  # whether `read` takes the content, not the path


AEDAT = Format("AEDAT", MAGIC, aedat, whole=False)
HDF5 = Format("HDF5", b"\x89HDF\r\n", hdf5, whole=False)
SUFFIXES: dict[str, Format] = {
    ".aedat": AEDAT,
    ".aedat4": AEDAT,
    ".raw": Format("Prophesee EVT", b"% ", raw),
    ".dat": Format("Prophesee DAT", b"% ", dat),
    ".bin": Format("N-MNIST", b"", parse),
    ".mat": Format("MATLAB", b"MATLAB ", mat),
    ".npy": Format("NumPy array", b"\x93NUMPY", npy),
    ".npz": Format("NumPy archive", b"PK\x03\x04", npz),
    ".h5": HDF5,
    ".hdf5": HDF5,
}
PACKED = {  # how compressed files begin
    b"\x1f\x8b\x08": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}


def read(path: Path | str, *, sensor: Sensor | None = None, checksum: str | None = None, **options: Any) -> Events:
    """Return the events of a recording.

    Args:
        path: of the file; its suffix, one of `SUFFIXES`, names the format.
        sensor: height and width of the camera [pixel]; None for what the file says, or what the format implies.
        checksum: of the file, "md5:" or "sha256:" and hexadecimal digits; None for no check.
        options: of single formats: `order="txyp"` of the columns in `.npy`, `chip="DAVIS346"` of AEDAT 2.

    Raises:
        ValueError: for a suffix that is not known, a file that begins as one of another format, is compressed, empty,
            cut off or damaged, has another checksum, or has events that cannot be (`events_of`); for an option that
            the format does not have, and a sensor that is not a height and a width.
        FileNotFoundError: if there is no file.
        ImportError: for AEDAT 4 without the package aedat, and for HDF5 without h5py.

    >>> read("clip.avi")
    Traceback (most recent call last):
    ...
    ValueError: clip.avi: the suffix .avi is not that of a recording; wanted .aedat, .aedat4, .raw, .dat, .bin, ...
    """
    path = Path(path)
    known = SUFFIXES.get(path.suffix.lower())
    if known is None:
        packed = path.suffix.lower() in (".gz", ".bz2", ".xz", ".zst") and Path(path.stem).suffix.lower() in SUFFIXES
        raise ValueError(
            f"{path}: the suffix {path.suffix or '(none)'} is not that of a recording; "
            + (f"decompress it to {path.stem}" if packed else f"wanted {', '.join(SUFFIXES)}")
        )
    _require_options(path, known, options)
    with open(path, "rb") as file:
        begin = file.read(16)
    _require(path, known, begin)
    if checksum is not None:
        check(path, checksum)
    return known.read(path.read_bytes() if known.whole else path, str(path), sensor, **options)


def check(path: Path, checksum: str) -> None:
    """Raise ValueError unless a file has this checksum, "md5:" or "sha256:" and hexadecimal digits."""
    kind, _, wanted = checksum.partition(":")
    if kind not in ("md5", "sha256") or not wanted:
        raise ValueError(f"checksum={checksum!r}: give 'md5:' or 'sha256:' and hexadecimal digits")
    with open(path, "rb") as file:
        made = hashlib.new(kind)
        while part := file.read(1 << 20):
            made.update(part)
    if made.hexdigest() != wanted.lower():
        raise ValueError(f"{path} is truncated or a different file: expected {kind} {wanted}, found {made.hexdigest()}")


def _require_options(path: Path, known: Format, options: dict[str, Any]) -> None:
    """Raise ValueError for an option that the reader of a format does not have."""
    has = list(inspect.signature(known.read).parameters)[3:]  # behind content, name and sensor
    for option in options:
        if option not in has:
            raise ValueError(f"{path}: {known.name} has no option {option!r}; wanted {', '.join(has) or 'none'}")


def _require(path: Path, known: Format, begin: bytes) -> None:
    """Raise ValueError unless a file begins as its format does."""
    if not begin:
        raise ValueError(f"{path} is empty: copy it again")
    if known.magic and begin.startswith(known.magic):
        return
    packed = next((how for magic, how in PACKED.items() if begin.startswith(magic)), None)
    if packed is not None:
        raise ValueError(f"{path} is compressed by {packed[0]}: decompress it first, by {packed[1]}")
    other = next((form for form in SUFFIXES.values() if form.magic and begin.startswith(form.magic)), None)
    if other is not None:
        ends = " or ".join(suffix for suffix, form in SUFFIXES.items() if form.magic == other.magic)
        raise ValueError(
            f"{path} begins with {other.magic!r}, the magic bytes of {other.name}, and ends in {path.suffix}: rename "
            f"it to end in {ends}" + (", or unpack it, if it is another archive" if other.read is npz else "")
        )
    if known.magic:
        raise ValueError(
            f"{path} begins with {begin[:8]!r}; {known.name} begins with {known.magic!r}: it is a different file"
        )
