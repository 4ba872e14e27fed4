"""An index of all runs in one SQLite file beside their folders, so that ten thousand runs are listed quickly."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rules.errors import unknown
from sandbox.machine.files import read_json, root_of
from sandbox.machine.plain_yaml import read_yaml
from sandbox.measures import measured

NAME = "index.sqlite"
COLUMNS = ("folder", "task", "rule", "seed", "status", "test_accuracy", "measure", "test")
SCHEMA = """CREATE TABLE IF NOT EXISTS runs (
    folder TEXT PRIMARY KEY, task TEXT, rule TEXT, seed INTEGER, status TEXT, test_accuracy REAL,
    updated TEXT DEFAULT CURRENT_TIMESTAMP, measure TEXT, test REAL)"""
ADDED = ("measure TEXT", "test REAL")  # columns that an index of an earlier version lacks
INSERT = f"INSERT OR REPLACE INTO runs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
STATUSES = ("running", "done", "failed", "damaged")  # `running` was begun and has not ended; it may have been killed
FILTERS = ("rule", "task", "status")


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


def record(folder: Path, experiment: Any, status: str, test: Mapping[str, Any] | None = None) -> None:
    """Write or replace the row of a run, in the index of the folder that holds all runs (`root_of`).

    Args:
        folder: of the run.
        experiment: what it runs.
        status: a member of STATUSES.
        test: the result on the test set, of a run that is done.
    """
    root = root_of(folder)
    row = Row(
        folder.relative_to(root).as_posix(),
        experiment.task.name,
        experiment.rule.name,
        experiment.seed,
        status,
        *_measures(test),
    )
    with _opened(root) as connection, connection:
        connection.execute(SCHEMA)
        _add_columns(connection)
        connection.execute(INSERT, row)


def rows(root: Path, **wanted: str | None) -> list[dict[str, Any]]:
    """Return the runs below `root`, sorted by task, rule and seed; reads only the index.

    Args:
        root: folder of all runs.
        wanted: filters: a `rule`, `task` or `status`; None for all.

    Returns: rows of the index; none if there is no index.

    Raises:
        ValueError: for an unknown status or filter.
    """
    filters = {name: value for name, value in wanted.items() if value is not None}
    for name in filters:
        if name not in FILTERS:
            raise unknown("filter of runs", name, FILTERS)
    if filters.get("status", "done") not in STATUSES:
        raise unknown("status", str(filters["status"]), STATUSES)
    if not (root / NAME).exists():
        return []
    where = " AND ".join(f"{name} = ?" for name in filters) or "1"
    with _opened(root) as connection:
        connection.row_factory = sqlite3.Row
        query = f"SELECT * FROM runs WHERE {where} ORDER BY task, rule, seed, folder"
        found = connection.execute(query, list(filters.values())).fetchall()
    return [{**dict.fromkeys(COLUMNS), **dict(row)} for row in found]  # earlier versions had fewer columns


def counts(root: Path) -> dict[str, int]:
    """Count the runs of each status; reads only the index."""
    found = rows(root)
    return {status: sum(row["status"] == status for row in found) for status in STATUSES}


def rebuild(root: Path) -> dict[str, int]:
    """Rebuild the index from the run folders, in one transaction; return the number of runs of each status."""
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; name the one that holds the runs with --out")
    found = list(_read(root))
    try:
        counts(root)
    except ValueError:  # a damaged file is replaced
        (root / NAME).unlink()
    with _opened(root) as connection, connection:
        connection.execute("DROP TABLE IF EXISTS runs")
        connection.execute(SCHEMA)
        connection.executemany(INSERT, found)
    return {status: sum(row.status == status for row in found) for status in STATUSES}


@contextmanager
def _opened(root: Path) -> Iterator[sqlite3.Connection]:
    """Open the index; raise ValueError for a file that is damaged."""
    try:
        with closing(sqlite3.connect(root / NAME, timeout=60)) as connection:
            yield connection
    except sqlite3.OperationalError:  # locked for too long, or no room
        raise
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"{root / NAME}: {error}; write it anew with `sandbox index --rebuild --out {root}`"
        ) from error


def _add_columns(connection: sqlite3.Connection) -> None:
    """Add the columns that the index of an earlier version lacks."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(runs)")}
    for column in ADDED:
        if column.split()[0] not in there:
            connection.execute(f"ALTER TABLE runs ADD COLUMN {column}")


def _measures(test: Mapping[str, Any] | None) -> tuple[float | None, str | None, float | None]:
    """Return the accuracy, the measure and its value, None for what there is not."""
    if test is None:
        return None, None, None
    measure = measured(test)
    value = float(test[measure])
    return value if measure == "accuracy" else None, measure, value


def _read(root: Path) -> Iterator[Row]:
    """Yield a row for every run folder below `root`, including those in the comparisons of a grid."""
    for path, inner, files in os.walk(root):
        inner.sort()
        if "config.yaml" not in files:
            continue
        folder = Path(path)
        name, known = folder.relative_to(root).as_posix(), (None, None, None)
        try:
            config = read_yaml(folder / "config.yaml")
            if config["kind"] != "run":
                continue
            inner.clear()
            known = (config["task"]["name"], config["rule"]["name"], config["seed"])
            status, test = _ended(folder)
            yield Row(name, *known, status, *_measures(test))
        except (OSError, ValueError, KeyError, TypeError):
            yield Row(name, *known, "damaged", None)


def _ended(folder: Path) -> tuple[str, Mapping[str, Any] | None]:
    """Return the status of a run, and its result on the test set if it is done."""
    if (folder / "result.json").exists():
        return "done", read_json(folder / "result.json")["test"]
    return ("failed" if (folder / "error.txt").exists() else "running"), None
