"""The journal of a tuning, one record in a line: what a full disk or a kill left half written is cut off."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from sandbox.machine import files

KEYS = ("op_code", "worker_id")  # that each record has
BLOCK = 1 << 16  # bytes
BLANK = "it is blank"


def lock(path: Path) -> Any:
    """Return the lock under which Optuna appends to a journal.

    Whoever gets it finds whole lines: Optuna writes after what is there, so that a record after half of another one
    would make both unreadable (its issue 5138). A record that is cut belongs to a trial that is repeated.
    """
    from optuna.storages.journal import JournalFileOpenLock

    class Lock(JournalFileOpenLock):
        def acquire(self) -> bool:
            got = super().acquire()
            try:
                cut(path)
            except BaseException:
                self.release()
                raise
            return got

    return Lock(str(path))


def cut(path: Path) -> None:
    """Cut off what follows the last end of a line."""
    with open(path, "r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - BLOCK)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def mend(path: Path, held: Any) -> None:
    """Cut off a last line that holds no record, and what is blank.

    Args:
        path: of the journal, which need not be there.
        held: its lock.

    Raises:
        ValueError: for damage before the last line; the message names the line and what keeps the trials before it.
    """
    if not path.exists() or whole(path) == path.stat().st_size:
        return
    held.acquire()
    try:
        size = whole(path)  # others may have written meanwhile
        with open(path, "r+b") as file:
            file.truncate(size)
    finally:
        held.release()


def whole(path: Path) -> int:
    """Return how many bytes of a journal hold records; raise ValueError where damaged lines lie before the last one."""
    good = position = 0  # bytes
    damaged: list[tuple[int, str]] = []  # lines after the last record, each with what is wrong
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            position += len(line)
            wrong = _wrong(line)
            if wrong:
                damaged.append((number, wrong))
            elif damaged:
                raise _damaged(path, *damaged[0])
            else:
                good = position
    if sum(wrong != BLANK for _, wrong in damaged) > 1:
        raise _damaged(path, *damaged[0])
    return good


def _damaged(path: Path, number: int, wrong: str) -> ValueError:
    name = shlex.quote(str(path))
    return ValueError(
        f"{path}, line {number}, is damaged ({wrong}); put a copy of the file back, or keep the trials before that "
        f"line, and resume: head -n {number - 1} {name} > kept && mv kept {name}"
    )


def _wrong(line: bytes) -> str:
    """Return why a line is not a record, empty if it is one."""
    if not line.strip():
        return BLANK
    if not line.endswith(b"\n"):
        return "it has no end"
    try:
        found = files.parse_json(line.decode(), "it")
    except ValueError:
        return "it is not JSON"
    return "" if isinstance(found, dict) and all(key in found for key in KEYS) else "it is not a record of Optuna"
