"""One job on another machine: which of its workers may write, and what it tells the caller, in files of its folder.

`ticket.json` is written by the caller before the job is handed over, `worker.json` by the worker. A worker that does not
find its ticket does not see the caller's files. A worker that no longer finds itself in `worker.json` has been replaced,
because its machine was taken for dead.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from sandbox.executors.base import Status, Work
from sandbox.machine import files
from sandbox.machine.memory import keep_freed_memory

TICKET, WORKER = "ticket.json", "worker.json"
EVERY = 0.5  # [s] between two notes of the steps
SHARED = "every node must see the same run folders; name a folder that the nodes share with --out"


class Replaced(RuntimeError):
    """Another worker has taken over the job."""


def hand_over(job: Work, ticket: str) -> None:
    """Write the ticket of a job; what the worker of an earlier ticket said no longer counts."""
    job.folder.mkdir(parents=True, exist_ok=True)
    files.write_json(job.folder / TICKET, {"ticket": ticket})


def ticket_of(folder: Path) -> str:
    """Return the latest ticket of a job, empty if it has none."""
    return str(_content(folder / TICKET).get("ticket", ""))


def heard(folder: Path, ticket: str) -> tuple[Status, str]:
    """Return how far the job with this ticket is, and its error, empty without one."""
    said = _content(folder / WORKER)
    if said.get("ticket") != ticket:
        return Status("waiting"), ""
    return Status(said["state"], said["done"], said["total"]), said["error"]


def do(job: Work, ticket: str, home: Path, log: Path, patience: float = 10.0) -> str:
    """Do a job in this process and note in its folder how it goes.

    Args:
        job: what to do.
        ticket: that the caller wrote into the folder.
        home: working directory of the caller, to which paths may be relative.
        log: where this process prints to; named in the folder.
        patience: how long to wait for the ticket on a file system that shows new files late [s], 10 by default.

    Returns: the error, empty if the job is done.

    Raises:
        OSError: if this machine does not see the folder.
        Replaced: if another worker has taken over.
    """
    keep_freed_memory()
    _require_sight(job.folder, ticket, home, patience)
    worker = _Worker(job.folder, ticket, log)
    try:
        job.work(worker.progress, worker.fence)
    except (KeyboardInterrupt, Replaced):
        raise
    except BaseException as error:  # sys.exit in a user's code, too, is the failure of that job
        worker.fence()
        with suppress(OSError):  # the disk may be full
            (job.folder / "error.txt").write_text(traceback.format_exc(), errors="backslashreplace")
        message = f"{type(error).__name__}: {error}"
        worker.say("failed", message)
        return message
    worker.say("done")
    return ""


class _Worker:
    """The notes of the worker in this process."""

    def __init__(self, folder: Path, ticket: str, log: Path) -> None:
        self._path = folder / WORKER
        place = os.path.relpath(log.absolute(), folder.absolute())
        self._fixed = {"ticket": ticket, "worker": uuid4().hex, "host": socket.gethostname(), "log": place}
        self._steps = (0, 0)
        self._next = 0.0
        self._write("running")

    def progress(self, done: int, total: int) -> None:
        """Note the steps, not too often."""
        self._steps = done, total
        if time.monotonic() >= self._next:
            self.say("running")

    def fence(self) -> None:
        """Raise Replaced if another worker has taken over."""
        if _content(self._path).get("worker") != self._fixed["worker"]:
            raise Replaced(f"{self._path.parent} has been taken over by another worker")

    def say(self, state: str, error: str = "") -> None:
        """Note the state, if this worker has not been replaced."""
        self.fence()
        self._write(state, error)

    def _write(self, state: str, error: str = "") -> None:
        done, total = self._steps
        files.write_json(self._path, {**self._fixed, "state": state, "done": done, "total": total, "error": error})
        self._next = time.monotonic() + EVERY


def _require_sight(folder: Path, ticket: str, home: Path, patience: float) -> None:
    """Enter the caller's directory; raise OSError if it, or the folder with the ticket, is not to be seen from here."""
    end = time.monotonic() + patience
    while True:
        if home.is_dir():
            os.chdir(home)
            if ticket_of(folder) == ticket:
                return
        if time.monotonic() >= end:
            raise OSError(f"{socket.gethostname()} does not see {home / folder} as the caller does: {SHARED}")
        time.sleep(min(0.5, patience))


def _content(path: Path) -> dict[str, Any]:
    """Return the facts in a file, none if it is not there (yet)."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
