"""Write files atomically, so that a reader, or the next attempt after a kill, never sees an incomplete file.

A folder may come from somebody else: only regular files are read, and nothing is written through a link.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import stat
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

TEMPORARY = re.compile(r"\..+?\.(?P<process>\d+)\.\d+(?:\.(?P<host>[\w-]+))?")  # earlier versions did not name the host
FOREIGN = 86_400.0  # [s] after which a temporary file of another host is taken for abandoned
TEXT = 64 << 20  # bytes of a text, at most; what a run or a table writes at its end is far smaller
GROWN = 1 << 30  # bytes of a file with a line for each epoch, look or trial, at most
PROMPT = getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer is opened at once
UNLINKED = getattr(os, "O_NOFOLLOW", 0)
BINARY = getattr(os, "O_BINARY", 0)  # of Windows
BESIDE = ("-journal", "-wal", "-shm")  # endings of what SQLite keeps beside a database
GROUP = re.compile(rb"^kind: (comparison|grid|tuning)\s*$", re.MULTILINE)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that its path holds either the old content or the new one, never a part.

    The content is written to a temporary file in the same folder, flushed to disk and renamed. The name of the
    temporary file contains the process, the thread and the host, so that two writers never share one. It is removed if
    it cannot be written; one that a kill left is removed by `sweep`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.{_host()}")
    try:
        beside.unlink(missing_ok=True)
        with open(beside, "xb") as file:  # a link of that name is not followed
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


def read_json(path: Path, most: int = TEXT) -> Any:
    """Read JSON of at most so many bytes; raise ValueError, which names the file, if it is not valid."""
    return parse_json(text_of(path, most), str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read JSON that holds values by name; raise ValueError, which names the file, for anything else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {found!r:.60}, not values by name; remove it and resume the run")
    return found


def read_lines(path: Path) -> list[Any]:
    """Read a file with a JSON value in each line; raise ValueError, which names file and line, if one is not valid."""
    lines = text_of(path, GROWN).split("\n")
    return [parse_json(line, f"{path}, line {number},") for number, line in enumerate(lines, 1) if line]


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


def text_of(path: Path, most: int = TEXT) -> str:
    """Return the text in a file; raise ValueError as `bytes_of`, and if it is not in UTF-8."""
    try:
        return bytes_of(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8 ({error}); remove it and resume the run") from error


def bytes_of(path: Path, most: int | None = None) -> bytes:
    """Return the content of a file.

    Args:
        path: of the file.
        most: bytes, at most; None for a file that may be as large as a model.

    Raises:
        ValueError: for a pipe, a device or a socket, and for a file that is too large; names it.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is None:
            return file.read()
        content = b"" if size > most else file.read(most + 1)
        if max(size, len(content)) > most:
            raise ValueError(f"{path} is too large: {max(size, len(content))} bytes, at most {most}; remove it")
        return content


def opened(path: Path) -> IO[bytes]:
    """Open a file for reading; raise ValueError, which names it, at once for a pipe, a device or a socket."""
    try:
        return _regular(os.open(path, os.O_RDONLY | PROMPT | BINARY), path)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EOPNOTSUPP):  # a socket, a device that is not there
            raise _special(path) from None
        raise


def opened_to_write(path: Path, flags: int = 0) -> IO[bytes]:
    """Open a file for reading and writing, with the content that it has.

    Args:
        path: of the file.
        flags: further ones: `os.O_CREAT` makes a missing file, `os.O_APPEND` writes at the end.

    Raises:
        ValueError: for a symbolic link, which may lead to any file of the user, and for what is not a regular file.
    """
    require_plain(path)
    try:
        number = os.open(path, os.O_RDWR | UNLINKED | PROMPT | BINARY | flags, 0o666)
        return _regular(number, path, "ab" if flags & os.O_APPEND else "r+b")
    except OSError as error:
        if error.errno == errno.ELOOP:  # made since `require_plain`
            raise _linked(path) from None
        raise


def require_plain(*paths: Path) -> None:
    """Raise ValueError, which names it, for a path that is there and not a regular file, or a symbolic link to one.

    To be called before a library opens a file for writing that somebody else may have put there.
    """
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError):
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                raise _linked(path)
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder fails by itself
                raise _special(path)


def require_database(path: Path) -> None:
    """Raise ValueError as `require_plain` for a database of SQLite, and for what SQLite keeps beside it."""
    require_plain(path, *(path.with_name(path.name + end) for end in BESIDE))


def require_inside(folder: Path, places: Iterable[Path]) -> None:
    """Raise ValueError, which names it, for a place in a folder from which a symbolic link leads out of it.

    The folder itself may be a symbolic link, because it is the user who names it.
    """
    root = folder.resolve()
    for place in places:
        found = place.resolve()
        if not found.is_relative_to(root):
            raise ValueError(
                f"{place} leads out of {folder}, to {found}, by a symbolic link; nothing is written there: remove that "
                "link"
            )


def _regular(number: int, path: Path, mode: str = "rb") -> IO[bytes]:
    """Return an open file; close it and raise for what is not a regular file."""
    kind = os.fstat(number).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(number, mode)
    os.close(number)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise _special(path)


def _special(path: Path) -> ValueError:
    return ValueError(f"{path} is not a regular file, but a pipe, a device or a socket; remove it")


def _linked(path: Path) -> ValueError:
    return ValueError(f"{path} is a symbolic link, and writing would change what it leads to; remove that link")


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
        with opened(folder / "config.yaml") as file:
            return GROUP.search(file.read(4096)) is not None
    except (OSError, ValueError):
        return False
