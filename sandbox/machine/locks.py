"""Ask whether a process works in a folder, without disturbing it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

PROC_LOCKS = Path("/proc/locks")  # all locks of this machine (proc(5))
LOCK = ".lock"  # in the folder; its content means nothing, the operating system knows who holds it
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # what a file system without locks answers
INSTANT = 0.2  # [s] within which everybody who only asks has let go again


def held(folder: Path | str) -> bool:
    """Return whether a process holds the lock of a folder; false where that cannot be asked.

    The question takes a shared lock for an instant, for which a process that wants the folder waits.
    """
    path = os.path.join(folder, LOCK)
    try:
        if fcntl is None:
            return os.path.exists(path) and _taken(path)
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name is opened at once
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)  # releases the lock, too
    return False


def holder(folder: Path | str) -> int | None:
    """Return the number of the process that holds the lock of a folder; None where the system does not say."""
    try:
        lock = os.stat(os.path.join(folder, LOCK))
        lines = PROC_LOCKS.read_text().splitlines()
    except OSError:
        return None
    name = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    found = (line.split() for line in lines if f" {name} " in line)
    holders = [int(words[4]) for words in found if words[1] == "FLOCK" and words[3] == "WRITE"]
    return next((pid for pid in holders if pid > 0), None)  # not one that this system of process numbers does not show


def _taken(path: str) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
