"""One SQLite file beside the run folders, so that a hundred runs can be asked about at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sandbox.config import Experiment

NAME = "index.sqlite"
SCHEMA = """CREATE TABLE IF NOT EXISTS runs (
    folder TEXT PRIMARY KEY, task TEXT, rule TEXT, seed INTEGER, status TEXT, test_accuracy REAL,
    updated TEXT DEFAULT CURRENT_TIMESTAMP)"""


def record(folder: Path, experiment: Experiment, status: str, accuracy: float | None = None) -> None:
    """Write or replace a run's row in the index of the folder above it, or above the comparison that it belongs to."""
    above = folder.parent
    root = above.parent if (above / "config.yaml").exists() else above
    row = (
        folder.relative_to(root).as_posix(),
        experiment.task.name,
        experiment.rule.name,
        experiment.seed,
        status,
        accuracy,
    )
    with closing(sqlite3.connect(root / NAME, timeout=60)) as connection, connection:
        connection.execute(SCHEMA)
        connection.execute(
            "INSERT OR REPLACE INTO runs (folder, task, rule, seed, status, test_accuracy) VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )


def rows(root: Path) -> list[dict[str, Any]]:
    """Every run below `root`, by task, rule and seed; empty where there is no index."""
    if not (root / NAME).exists():
        return []
    with closing(sqlite3.connect(root / NAME, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM runs ORDER BY task, rule, seed").fetchall()
    return [dict(row) for row in found]
