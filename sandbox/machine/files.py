"""Write files atomically, so that a reader, or the next attempt after a kill, never sees an incomplete file."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\..+?\.(?P<process>\d+)\.\d+(?:\.(?P<host>[\w-]+))?")  # earlier versions did not name the host
FOREIGN = 86_400.0  # [s] after which a temporary file of another host is taken for abandoned
GROUP = re.compile(rb"^kind: (comparison|grid|tuning)\s*$", re.MULTILINE)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that its path holds either the old content or the new one, never a part.

    The content is written to a temporary file in the same folder, flushed to disk and renamed. The name of the
    temporary file contains the process, the thread and the host, so that two writers never share one. It is removed if
    it cannot be written; one that a kill left is removed by `sweep`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.{_host()}")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder; those of a living process stay."""
    with os.scandir(folder) as entries:
        found = [(entry.path, TEMPORARY.fullmatch(entry.name)) for entry in entries if entry.name.startswith(".")]
    for path, name in found:
        if name is not None and _abandoned(path, int(name["process"]), name["host"]):
            with suppress(OSError):
                os.unlink(path)


def missing(folder: Path) -> list[Path]:
    """Return the folders that have to be made for this one, itself first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def same(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder apart from a later one of its name; None if there is none."""
    try:
        found = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def discard(made: list[Path]) -> None:
    """Remove a folder with its content, then those above that were made for it, if nothing else is in them."""
    with suppress(OSError):
        shutil.rmtree(made[0])
        for place in made[1:]:
            place.rmdir()


def _abandoned(path: str, process: int, host: str | None) -> bool:
    """Return whether the process that writes a temporary file is gone; of another host only its age tells."""
    if host in (None, _host()) and os.name == "posix":
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # of another user
            return False
        return False
    with suppress(OSError):
        return time.time() - os.stat(path).st_mtime > FOREIGN
    return False


def _host() -> str:
    return re.sub(r"[^\w-]", "-", platform.node()) or "unnamed"


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal contents give equal bytes."""
    write_atomically(path, as_json(content))


def as_json(content: Any) -> str:
    """Return the text that `write_json` writes."""
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


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
    """Return the folder of all runs: the first one above `folder` that holds no comparison or grid, as a full path."""
    root = place_of(folder).parent
    while _is_group(root) and root != root.parent:
        root = root.parent
    return root


def place_of(folder: Path) -> Path:
    """Return the full path of a folder, in which only the last part may be a symbolic link."""
    folder = Path(folder)
    return folder.resolve() if folder.name in ("", "..") else folder.parent.resolve() / folder.name


def _is_group(folder: Path) -> bool:
    """Return whether a folder is one of a comparison or a grid, which its configuration says in the first lines."""
    try:
        with open(folder / "config.yaml", "rb") as file:
            return GROUP.search(file.read(4096)) is not None
    except OSError:
        return False
