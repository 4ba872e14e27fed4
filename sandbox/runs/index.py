"""An index of all runs in one SQLite file beside their folders, so that ten thousand runs are listed quickly.

The folders are the truth. The index only saves reading them: it keeps the size and time of the files that a row was
read from, and a row whose files have changed is read again. Learning goes on without an index that cannot be written,
a listing reads the folders where it cannot be read, and `rebuild` replaces it.
"""

from __future__ import annotations

import errno
import os
import shlex
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from rules.errors import unknown
from sandbox.machine.files import BESIDE, place_of, require_database, root_of
from sandbox.measures import measured
from sandbox.runs import status as statuses
from sandbox.runs.signs import STATUSES
from sandbox.runs.status import Found

NAME = "index.sqlite"
VERSION = 1  # of the table; a newer one is not touched
COLUMNS = ("folder", "task", "rule", "seed", "status", "test_accuracy", "measure", "test")
SCHEMA = """CREATE TABLE IF NOT EXISTS runs (
    folder TEXT PRIMARY KEY, task TEXT, rule TEXT, seed INTEGER, status TEXT, test_accuracy REAL,
    updated TEXT DEFAULT CURRENT_TIMESTAMP, measure TEXT, test REAL, stamp TEXT)"""
ADDED = ("measure TEXT", "test REAL", "stamp TEXT")  # columns that an index of an earlier version lacks
FILTERS = ("rule", "task", "status")
PATIENCE = 2.0  # [s] to wait once for a process that holds the index; learning must not stand still
MANY = 1000  # runs that the index lacks, from which on a listing is slow enough for a word
_told: set[Path] = set()  # indexes that could not be written, of which this process has told


class Row(NamedTuple):
    """A run in the index; fields that cannot be read from a damaged folder are None."""

    folder: str  # below the root
    task: str | None
    rule: str | None
    seed: int | None
    status: str
    test_accuracy: float | None  # None where answers are not classes
    measure: str | None = None  # what models are selected by: accuracy, r2 or f1
    test: float | None = None  # that measure on the test set
    stamp: str | None = None  # size and time of the files that it was read from


INSERT = f"INSERT OR REPLACE INTO runs ({', '.join(Row._fields)}) VALUES ({', '.join('?' * len(Row._fields))})"


class Unusable(Exception):
    """Why an index cannot be used, in words."""


def record(folder: Path, experiment: Any, status: str, test: Mapping[str, Any] | None = None) -> None:
    """Write or replace the row of a run, in the index of the folder that holds all runs (`root_of`).

    Nothing stops for an index that cannot be written: one warning per process says so on the error stream.

    Args:
        folder: of the run.
        experiment: what it runs.
        status: a member of STATUSES.
        test: the result on the test set, of a run that is done.
    """
    root, place = root_of(folder), place_of(folder)
    about = (experiment.task.name, experiment.rule.name, experiment.seed)
    row = Row(place.relative_to(root).as_posix(), *about, status, *_measures(test), statuses.stamp(place))
    if row.stamp is None:  # nothing was begun, or the folder is gone
        return
    with _telling(root / NAME), _opened(root / NAME, 0.0 if root in _told else PATIENCE) as connection, connection:
        _prepare(connection)
        connection.execute(INSERT, row)


def rows(root: Path, **wanted: str | None) -> list[dict[str, Any]]:
    """Return the runs below `root`, sorted by task, rule and seed, each with its status at this moment.

    Rows come from the index; runs that it lacks, and those that have changed, are read from their folders. Where the
    index cannot be read, a warning says so, and all are read from their folders.

    Args:
        root: folder of all runs.
        wanted: filters: a `rule`, `task` or `status`; None for all.

    Returns: rows of the index, from which runs are left out whose folders are gone.

    Raises:
        ValueError: for an unknown status or filter, and for a root that is not a folder.
    """
    filters = {name: value for name, value in wanted.items() if value is not None}
    for name in filters:
        if name not in FILTERS:
            raise unknown("filter of runs", name, FILTERS)
    if filters.get("status", "done") not in STATUSES:
        raise unknown("status", str(filters["status"]), STATUSES)
    root = Path(root).expanduser()
    if not root.exists():
        return []
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; name the one that holds the runs with --out")
    kept, known = _kept(root, {name: value for name, value in filters.items() if name != "status"})
    new = [_row(found) for found in statuses.unlisted(root, known)]
    if known and len(new) > MANY:
        _tell(f"{len(new)} runs are not in {root / NAME}: {_remedy(root)} makes the next listing fast")
    found = [*_current(root, kept), *new]
    if found != kept:
        found.sort(key=_order)
    return [
        dict(zip(COLUMNS, row, strict=False))
        for row in found
        if all(getattr(row, name) == value for name, value in filters.items())
    ]


def counts(root: Path) -> dict[str, int]:
    """Count the runs of each status."""
    found = Counter(row["status"] for row in rows(root))
    return {status: found[status] for status in STATUSES}


def rebuild(root: Path) -> dict[str, int]:
    """Write the index anew from the run folders, beside the old file, and replace that; count the runs of each status.

    Raises:
        ValueError: if the root is not a folder.
        OSError: if there is no room, or the folder may not be written.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; name the one that holds the runs with --out")
    found = [_row(each) for each in statuses.unlisted(root, frozenset())]
    path, beside = root / NAME, root / f".{NAME}.{os.getpid()}.0"  # a name that `files.sweep` knows
    try:
        beside.unlink(missing_ok=True)
        with _opened(beside, PATIENCE) as connection, connection:
            _prepare(connection)
            connection.executemany(INSERT, found)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        for end in BESIDE:  # they belong to the old file and would damage the new one
            path.with_name(NAME + end).unlink(missing_ok=True)
        os.replace(beside, path)
    except Unusable as error:
        raise OSError(errno.EIO, f"the index cannot be written ({error})", str(path)) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    count = Counter(row.status for row in found)
    return {status: count[status] for status in STATUSES}


def _kept(root: Path, filters: Mapping[str, str]) -> tuple[list[Row], frozenset[str]]:
    """Return the rows of the index that pass, and the folders of all; none if the index is missing or unusable."""
    path = root / NAME
    if not os.path.lexists(path):
        return [], frozenset()
    where = " AND ".join(f"{name} = ?" for name in filters) or "1"
    try:
        with _opened(path, PATIENCE, read=True) as connection:
            there = _columns(connection)
            names = ", ".join(name if name in there else f"NULL AS {name}" for name in Row._fields)
            query = f"SELECT {names} FROM runs WHERE {where} ORDER BY task, rule, seed, folder"
            kept = [Row(*values) for values in connection.execute(query, list(filters.values()))]
            if not filters:
                return kept, frozenset(row.folder for row in kept)
            return kept, frozenset(folder for (folder,) in connection.execute("SELECT folder FROM runs"))
    except Unusable as error:
        _tell(f"{path} {error}; the folders are read instead, and {_remedy(root)} writes it anew")
        return [], frozenset()


def _current(root: Path, kept: list[Row]) -> Iterator[Row]:
    """Yield these rows as their folders are now; those without a folder are left out."""
    above = f"{root}{os.sep}"
    for row in kept:
        place = above + row.folder
        stamp = statuses.stamp(place)
        if stamp is None:
            continue
        if stamp != row.stamp:
            found = statuses.read(root, row.folder)
            if found is not None:
                yield _row(found)
        elif row.status in ("done", "damaged"):
            yield row
        else:
            yield row._replace(status=statuses.unfinished(place))


@contextmanager
def _opened(path: Path, patience: float, read: bool = False) -> Iterator[sqlite3.Connection]:
    """Open an index; raise Unusable for whatever is wrong with it."""
    try:
        require_database(path)
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be used ({error})") from error
    try:
        place = f"{path.absolute().as_uri()}?mode={'ro' if read else 'rwc'}"
        with closing(sqlite3.connect(place, timeout=patience, uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise Unusable("was written by a newer version")
            yield connection
    except (sqlite3.Error, OSError) as error:
        raise Unusable(_why(path, error)) from error


def _why(path: Path, error: Exception) -> str:
    text = str(error)
    if "locked" in text:
        return "is in use by another process"
    return "is a folder" if path.is_dir() else f"cannot be used ({text})"


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell once per process that an index could not be written."""
    try:
        yield
    except Unusable as error:
        if path.parent not in _told:
            _told.add(path.parent)
            _tell(f"{path} {error}; runs go on without it, and {_remedy(path.parent)} writes it anew afterwards")


def _tell(text: str) -> None:
    with suppress(OSError, ValueError):  # the error stream may be closed
        print(f"warning: {text}", file=sys.stderr, flush=True)


def _remedy(root: Path) -> str:
    return f"`sandbox index --rebuild --out {shlex.quote(str(root))}`"


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the table, or add the columns that the index of an earlier version lacks."""
    connection.execute(SCHEMA)
    there = _columns(connection)
    for column in ADDED:
        if column.split()[0] not in there:
            connection.execute(f"ALTER TABLE runs ADD COLUMN {column}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info(runs)")}


def _row(found: Found) -> Row:
    """Return the row of a run as it was read from its folder; one with an impossible measure is damaged."""
    try:
        accuracy, measure, value = _measures(found.test)
        if value is not None and not (value <= 1 if measure == "r2" else 0 <= value <= 1):
            raise ValueError(f"{measure} of {value}")
        return Row(found.folder, *found.about, found.status, accuracy, measure, value, found.stamp)
    except (ValueError, KeyError, TypeError, OverflowError):
        return Row(found.folder, *found.about, "damaged", None, stamp=found.stamp)


def _measures(test: Mapping[str, Any] | None) -> tuple[float | None, str | None, float | None]:
    """Return the accuracy, the measure and its value, None for what there is not."""
    if test is None:
        return None, None, None
    measure = measured(test)
    value = float(test[measure])
    return value if measure == "accuracy" else None, measure, value


def _order(row: Row) -> tuple[Any, ...]:
    """Return the key of SQLite's order: what is missing comes first."""
    return (
        *((row.task is not None, row.task or ""), (row.rule is not None, row.rule or "")),
        *((row.seed is not None, row.seed or 0), row.folder),
    )
