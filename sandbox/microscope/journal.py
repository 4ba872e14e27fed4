"""Looks on disk: a line a row, appended while learning, so that nothing is kept in memory."""

from __future__ import annotations

import json
from pathlib import Path

from sandbox.microscope.look import Look, Row

NAME = "microscope.jsonl"  # in the folder of a run


def write_look(path: Path, look: Look) -> None:
    """Append a look; all its lines at once."""
    with open(path, "a") as file:
        file.write("".join(json.dumps(row._asdict()) + "\n" for row in look.rows))


def read_rows(path: Path) -> list[Row]:
    """Every row of a file; raises ValueError that names it where a line is no row."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            rows.append(Row(**json.loads(line)))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}, is no row of a microscope ({error}); remove it and run the experiment again"
            ) from error
    return rows
