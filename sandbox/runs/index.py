"""One SQLite file beside the run folders, so that ten thousand runs can be asked about at once."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rules.errors import unknown
from sandbox.machine.files import read_json, root_of

NAME = "index.sqlite"
SCHEMA = """CREATE TABLE IF NOT EXISTS runs (
    folder TEXT PRIMARY KEY, task TEXT, rule TEXT, seed INTEGER, status TEXT, test_accuracy REAL,
    updated TEXT DEFAULT CURRENT_TIMESTAMP)"""
INSERT = "INSERT OR REPLACE INTO runs (folder, task, rule, seed, status, test_accuracy) VALUES (?, ?, ?, ?, ?, ?)"
STATUSES = ("running", "done", "failed", "damaged")  # `running` has begun and not ended; it may have been killed
FILTERS = ("rule", "task", "status")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is


class Row(NamedTuple):
    """A run, as its folder tells of it; what a damaged one cannot tell is None."""

    folder: str  # below the root
    task: str | None
    rule: str | None
    seed: int | None
    status: str
    test_accuracy: float | None


def record(folder: Path, experiment: Any, status: str, accuracy: float | None = None) -> None:
    """Write or replace a run's row in the index of the folder above it, or above what the run belongs to."""
    root = root_of(folder)
    row = Row(
        folder.relative_to(root).as_posix(),
        experiment.task.name,
        experiment.rule.name,
        experiment.seed,
        status,
        accuracy,
    )
    with closing(sqlite3.connect(root / NAME, timeout=60)) as connection, connection:
        connection.execute(SCHEMA)
        connection.execute(INSERT, row)


def rows(root: Path, **wanted: str | None) -> list[dict[str, Any]]:
    """Every run below `root`, by task, rule and seed, or those of one `rule`, `task` or `status`; no folder is opened.

    Empty where there is no index. Raises ValueError for an unknown status or filter.
    """
    asked = {name: word for name, word in wanted.items() if word is not None}
    for name in asked:
        if name not in FILTERS:
            raise unknown("filter of runs", name, FILTERS)
    if asked.get("status", "done") not in STATUSES:
        raise unknown("status", str(asked["status"]), STATUSES)
    if not (root / NAME).exists():
        return []
    where = " AND ".join(f"{name} = ?" for name in asked) or "1"
    with closing(sqlite3.connect(root / NAME, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        query = f"SELECT * FROM runs WHERE {where} ORDER BY task, rule, seed, folder"
        found = connection.execute(query, list(asked.values())).fetchall()
    return [dict(row) for row in found]


def counts(root: Path) -> dict[str, int]:
    """How many runs of the index have each status; no folder is opened."""
    found = rows(root)
    return {status: sum(row["status"] == status for row in found) for status in STATUSES}


def rebuild(root: Path) -> dict[str, int]:
    """Write the index anew from the folders alone, in one transaction; returns how many runs have each status."""
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; name the one that holds the runs with --out")
    found = list(_told(root))
    with closing(sqlite3.connect(root / NAME, timeout=60)) as connection, connection:
        connection.execute("DROP TABLE IF EXISTS runs")
        connection.execute(SCHEMA)
        connection.executemany(INSERT, found)
    return {status: sum(row.status == status for row in found) for status in STATUSES}


def _told(root: Path) -> Iterator[Row]:
    """The run folders below, down to those of the comparisons of a grid."""
    for path, inner, files in os.walk(root):
        inner.sort()
        if "config.yaml" not in files:
            continue
        folder = Path(path)
        name, known = folder.relative_to(root).as_posix(), (None, None, None)
        try:
            config = yaml.load((folder / "config.yaml").read_text(), LOADER)
            if config["kind"] != "run":
                continue
            inner.clear()
            known = (config["task"]["name"], config["rule"]["name"], config["seed"])
            yield Row(name, *known, *_ended(folder))
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            yield Row(name, *known, "damaged", None)


def _ended(folder: Path) -> tuple[str, float | None]:
    if (folder / "result.json").exists():
        return "done", float(read_json(folder / "result.json")["test"]["accuracy"])
    return ("failed" if (folder / "error.txt").exists() else "running"), None
