"""Writing files so that a reader, or the next attempt after a kill, never sees half of one."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file: either the old one stands or the new one, never a part.

    It is written beside, flushed to disk and renamed; the name beside it belongs to this thread alone.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with open(beside, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal contents are equal bytes."""
    write_atomically(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises ValueError that names the file where it is not JSON."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); remove it and resume the run") from error


def root_of(folder: Path) -> Path:
    """The folder of all runs: the one above a run, or above the comparison, or the grid of them, that it belongs to."""
    root = folder.parent
    while (root / "config.yaml").exists():
        root = root.parent
    return root
