"""One job in the hands of a scheduler: the caller's ticket, and what the worker says in the chain of claims.

The caller writes `.ticket.json` into the job's folder before it hands the job over. A worker that does not find its
ticket there does not see the caller's files. It then claims the job: whoever held it before belongs to a machine that
the scheduler takes for dead, and must not write any more.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.executors import claims
from sandbox.executors.base import Status, Work
from sandbox.executors.shared import Claimed
from sandbox.executors.worker import DONE, carried_out
from sandbox.machine import files
from sandbox.machine.memory import keep_freed_memory

TICKET = ".ticket.json"
BEAT = 1.0  # [s] between two notes of the steps
ENDED = ("done", "failed")
SHARED = "every node must see the run folders; use a folder that all nodes share"


class Ticket(NamedTuple):
    """What a caller hands over together with a job."""

    name: str  # empty if nothing was handed over
    after: int = -1  # newest link of the chain at that time: what later ones say is of this ticket


def hand_over(folder: Path, name: str) -> Ticket:
    """Write the ticket of a job into its folder."""
    folder.mkdir(exist_ok=True)  # not those above, which may have been moved away
    before = claims.newest(folder)
    ticket = Ticket(name, -1 if before is None else before.number)
    files.write_json(folder / TICKET, ticket._asdict())
    return ticket


def ticket_of(folder: Path) -> Ticket:
    """Return the latest ticket of a job, with an empty name if there is none."""
    try:
        found: Any = files.read_json(folder / TICKET)
        return Ticket(str(found["name"]), int(found["after"]))
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: then it is handed over again
        return Ticket("")


def heard(folder: Path, ticket: Ticket, before: Status) -> tuple[Status, str]:
    """Return how far the worker with a ticket is, and its error, empty without one.

    Args:
        folder: of the job.
        ticket: of the job.
        before: what was heard before, which counts until the next worker says more.
    """
    found = claims.newest(folder)
    if found is None or found.number <= ticket.after or found.state == claims.FREE:
        return before._replace(state="waiting"), ""
    if found.state == claims.HELD:
        told = claims.pulse(folder, found.number)
        return Status("running", *(told[1:] if told else before[1:])), ""
    return Status(found.state, *found.steps), found.error


def do(job: Work, ticket: str, home: Path, log: Path, patience: float = 10.0) -> str:
    """Claim a job, do it in this process, and say in its folder how it ended.

    Args:
        job: what to do.
        ticket: name of the ticket in its folder.
        home: working directory of the caller, to which paths may be relative.
        log: what this process prints to, for people who read the claim.
        patience: how long to wait for the ticket on a file system that shows new files late [s], 10 by default.

    Returns: the error, empty if the job is done.

    Raises:
        OSError: if this machine does not see the folder.
        TakenOver: if another worker has claimed the job since.
    """
    keep_freed_memory()
    _require_sight(job.folder, ticket, home, patience)
    held = None
    while held is None:  # at once, but for a worker that ends in this moment
        held = claims.claim(job.folder, claims.newest(job.folder), ticket=ticket, log=str(log))
    steps = [0, 0]

    def progress(done: int, total: int) -> None:
        steps[:] = done, total

    message = carried_out(Claimed(job, held, BEAT), progress)
    error = "" if message == DONE else message
    held.end(claims.FAILED if error else claims.DONE, error, steps=steps)
    return error


def _require_sight(folder: Path, ticket: str, home: Path, patience: float) -> None:
    """Enter the caller's directory; raise OSError if it, or the folder with the ticket, is not to be seen from here."""
    end = time.monotonic() + patience
    while True:
        if home.is_dir():
            os.chdir(home)
            if ticket_of(folder).name == ticket:
                return
        if time.monotonic() >= end:
            raise OSError(f"{socket.gethostname()} does not see {home / folder} as the caller does: {SHARED}")
        time.sleep(min(0.5, patience))
