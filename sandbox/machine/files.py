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
    write_atomically(path, as_json(content))


def as_json(content: Any) -> str:
    """Return the text that `write_json` writes."""
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def read_json(path: Path) -> Any:
    """Read JSON; raise ValueError, which names the file, if it is not valid."""
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); remove it and resume the run") from error


def root_of(folder: Path) -> Path:
    """Return the folder of all runs: the first one above `folder` that is not a comparison or grid (no config.yaml)."""
    root = folder.parent
    while (root / "config.yaml").exists():
        root = root.parent
    return root
