"""Which host and which process this is, so that another process can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Process(NamedTuple):
    """A process, told apart from all others of all hosts, also from later ones with its number."""

    host: str  # name of the host
    system: str  # of its boot and its process numbers: equal where one process sees the other
    pid: int
    started: str  # when, in ticks since boot; empty where the system does not say


def me() -> Process:
    """Return this process."""
    return Process(socket.gethostname(), _system(), os.getpid(), _started(os.getpid()) or "")


def is_gone(process: Process) -> bool:
    """Return whether a process of this host has ended; False for one of another host, of which nothing is known.

    >>> is_gone(me())
    False
    """
    here = me()
    if (process.host, process.system) != (here.host, here.system):
        return False
    if here.started:
        return _started(process.pid) != process.started
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _system() -> str:
    """Return a name of this boot of the kernel and of the table of processes that is seen from here."""
    found = []
    with suppress(OSError):
        found.append((PROC / "sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        found.append(os.readlink(PROC / "self/ns/pid"))
    return " ".join(found)


def _started(pid: int) -> str | None:
    """Return when a process started, None if it is not there or only waits to be reaped (proc(5))."""
    try:
        state, *fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
