"""Looks on disk: one line for each row, appended during learning, so that nothing is kept in memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sandbox.machine import files
from sandbox.microscope.look import Look, Row

NAME = "microscope.jsonl"  # in the folder of a run


def lines(look: Look) -> str:
    """Return a look as lines of JSON."""
    return "".join(json.dumps(row._asdict()) + "\n" for row in look.rows)


def write_look(path: Path, look: Look) -> None:
    """Append all lines of a look in one write."""
    with files.opened_to_write(path, os.O_CREAT | os.O_APPEND) as file:
        file.write(lines(look).encode())


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file; raise ValueError, with file and line, where a line is not a row."""
    rows = []
    for number, line in enumerate(files.text_of(path, files.GROWN).splitlines(), 1):
        try:
            rows.append(Row(**files.parse_json(line, "it")))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}, is not a row of a microscope ({error}); remove it and run again"
            ) from error
    return rows
