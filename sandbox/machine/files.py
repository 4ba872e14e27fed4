"""Write files atomically, so that a reader, or the next attempt after a kill, never sees an incomplete file."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that its path holds either the old content or the new one, never a part.

    The content is written to a temporary file in the same folder, flushed to disk and renamed. The name of the
    temporary file contains the process and the thread, so that two writers never share one.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with open(beside, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal contents give equal bytes."""
    write_atomically(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raise ValueError, which names the file, if it is not valid."""
    return parse_json(text_of(path), str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read JSON that holds values by name; raise ValueError, which names the file, for anything else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {found!r:.60}, not values by name; remove it and resume the run")
    return found


def read_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value in each line; raise ValueError, which names file and line, if one is not valid."""
    return [
        parse_json(line, f"{path}, line {number},") for number, line in enumerate(text_of(path).split("\n"), 1) if line
    ]


def parse_json(text: str, name: str) -> Any:
    """Return the value in a text; raise ValueError, which begins with `name`, if it is not valid, or too deep.

    >>> parse_json("[" * 100_000, "result.json")
    Traceback (most recent call last):
    ...
    ValueError: result.json is not valid JSON (it is nested too deep); remove it and resume the run
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{name} is not valid JSON (it is nested too deep); remove it and resume the run") from None
    except ValueError as error:  # a number of more digits than Python reads is one, too
        raise ValueError(f"{name} is not valid JSON ({error}); remove it and resume the run") from error


def text_of(path: Path) -> str:
    """Return the text in a file; raise ValueError, which names the file, if it is not in UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8 ({error}); remove it and resume the run") from error


def root_of(folder: Path) -> Path:
    """Return the folder of all runs: the first one above `folder` that is not a comparison or grid (no config.yaml)."""
    root = folder.parent
    while (root / "config.yaml").exists():
        root = root.parent
    return root
