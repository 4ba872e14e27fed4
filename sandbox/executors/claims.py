"""Claims of jobs in a folder that several hosts see: a chain of small files, of which only the newest counts.

A job's folder holds `.claims/0000`, `.claims/0001` and so on, each saying that somebody has the job, that it is free
again, or how it ended. The next link of a chain is a hard link to a file that is already written. Making one is atomic
on local disks and on NFS, and fails if there is one of that name, so that of many who want the same link exactly one
gets it. Nothing is ever replaced or removed: whoever was suspended finds the next link when it looks.

No clock is compared with that of another host. A holder writes a number that grows into a file beside its claim; who
waits measures with its own clock how long that number has stayed the same.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.executors.base import Progress
from sandbox.executors.worker import TakenOver
from sandbox.machine import files
from sandbox.machine.host import Process, is_gone, me
from sandbox.machine.text import terminal

FOLDER = ".claims"
HELD, FREE, DONE, FAILED = STATES = "held", "free", "done", "failed"
NAME = re.compile(r"\d{4}|[1-9]\d{4,17}", re.ASCII)  # of a link
LONGEST = 10_000  # characters of an error
LARGEST = 1_000_000  # bytes of a link; that of the longest error has fewer
BEAT = ".beat"  # suffix of the file with the number that grows


class Link(NamedTuple):
    """The newest file of a chain."""

    number: int  # its place in the chain
    state: str  # held, free, done or failed
    by: Process | None = None  # who wrote it
    error: str = ""  # of a job that failed
    steps: tuple[int, int] = (0, 0)  # done and in total, of a job that has ended; 0 where the link does not say


class Pulse(NamedTuple):
    """What a holder writes again and again."""

    beat: int  # grows
    done: int = 0  # steps
    total: int = 0  # steps


def newest(folder: Path) -> Link | None:
    """Return the newest link of a job's chain; None if nobody has claimed it yet.

    The folder is listed, because a network file system keeps for a while what it knew of single names.
    """
    try:
        numbers = [int(name) for name in os.listdir(folder / FOLDER) if NAME.fullmatch(name)]
    except FileNotFoundError:
        return None
    if not numbers:
        return None
    number = max(numbers)
    path = folder / FOLDER / _name(number)
    try:
        return _link(number, files.parse_json(_text(path), str(path)))
    except (ValueError, KeyError, TypeError):  # damaged, by nobody of ours
        return Link(number, FREE)


def _name(number: int) -> str:
    return f"{number:04d}"


def _text(path: Path) -> str:
    """Return the text in a file; raise ValueError for what is not a file, or larger than any of ours."""
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST:
        raise ValueError(f"{path} is damaged")
    return files.text_of(path)


def _link(number: int, content: Any) -> Link:
    """Return the link that a file holds; raise ValueError, KeyError or TypeError for what `add` does not write."""
    state, by, error = content["state"], Process(*content["by"]), content["error"]
    steps = tuple(content.get("steps", (0, 0)))
    names = all(isinstance(name, str) and name.isprintable() for name in (by.host, by.system, by.started))
    counts = all(type(count) is int and 0 <= count < 2**63 for count in (by.pid, *steps)) and len(steps) == 2
    if state not in STATES or not isinstance(error, str) or not names or not counts:
        raise ValueError(f"link {number} is damaged")
    return Link(number, state, by, terminal(error), steps)


def claimed(folder: Path) -> bool:
    """Return whether a process has a job now, for all that is known here: one of another host may have died."""
    found = newest(folder)
    return found is not None and found.state == HELD and found.by is not None and not is_gone(found.by)


def add(folder: Path, number: int, state: str, error: str = "", **said: Any) -> bool:
    """Add a link to a job's chain; return False if somebody else has added one of that number.

    Args:
        folder: of the job.
        number: place in the chain, one more than that of the newest link.
        state: held, free, done or failed.
        error: of a job that failed.
        said: what the link says besides, for people who read it.

    Raises:
        OSError: for a disk that is full or cannot be written, and where the folder above the job's is gone.
        ValueError: for a chain that a symbolic link puts outside of the job's folder.
    """
    place = folder / FOLDER
    files.require_inside(folder, [place])
    folder.mkdir(exist_ok=True)  # not those above, which may have been moved away
    place.mkdir(exist_ok=True)
    draft = place / f"draft-{uuid.uuid4().hex}"
    try:
        draft.write_text(json.dumps({"state": state, "by": me(), "error": error[:LONGEST], **said}) + "\n")
        try:
            os.link(draft, place / _name(number))
        except FileExistsError:
            # NFS may have made the link and lost the answer, so that a second request finds it: then there are two.
            return draft.stat().st_nlink == 2
        return True
    finally:
        with suppress(OSError):
            draft.unlink()


@dataclass(frozen=True)
class Claim:
    """A job that is ours until somebody adds the next link."""

    folder: Path  # of the job
    number: int
    left_behind: bool = False  # taken from a holder that may still hold the lock of the folder, because it is suspended

    @property
    def is_ours(self) -> bool:
        """Whether nobody has taken the job over."""
        found = newest(self.folder)
        return found is not None and found.number == self.number

    def fence(self) -> None:
        """Raise TakenOver if somebody has taken the job over."""
        if not self.is_ours:
            raise TakenOver

    def end(self, state: str, error: str = "", **said: Any) -> bool:
        """Say how the job ended, or that it is free again; return False if somebody has taken it over."""
        ended = add(self.folder, self.number + 1, state, error, **said)
        for left in (self.folder / FOLDER).glob(f"*{BEAT}*") if ended else ():  # also of holders that were killed
            with suppress(OSError):
                left.unlink()
        return ended

    @contextmanager
    def kept(self, period: float) -> Iterator[Progress]:
        """Let the number grow while a block runs; yield what the block calls with its progress.

        Args:
            period: time between two beats [s].
        """
        with beating(_beat_of(self.folder, self.number), period) as progress:
            yield progress


def claim(folder: Path, found: Link | None, **said: Any) -> Claim | None:
    """Claim a job whose newest link is `found`; None if somebody else was faster."""
    number = 0 if found is None else found.number + 1
    left = found is not None and found.state == HELD and not (found.by and is_gone(found.by))
    return Claim(folder, number, left) if add(folder, number, HELD, **said) else None


def pulse(folder: Path, number: int) -> Pulse | None:
    """Return what the holder of a link wrote last; None if it has not written yet."""
    return read_pulse(_beat_of(folder, number))


def _beat_of(folder: Path, number: int) -> Path:
    return folder / FOLDER / f"{_name(number)}{BEAT}"


def read_pulse(path: Path) -> Pulse | None:
    """Return what `beating` wrote last into a file; None if there is none."""
    try:
        return Pulse(*map(int, _text(path).split()))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def beating(path: Path, period: float) -> Iterator[Progress]:
    """Write a number that grows, and the progress of a block, into a file every `period` seconds.

    A thread writes, so that a long step looks alive; a process that is suspended does not. A disk that is full stops
    nothing: the number stands still.

    Yields: what the block calls with the steps done and the total number of steps.
    """
    now, stop = [0, 0], threading.Event()
    draft = path.with_name(path.name + ".draft")

    def write(beat: int) -> None:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            with open(draft, "x") as file:  # a link of that name is not followed
                file.write(f"{beat} {now[0]} {now[1]}\n")
            os.replace(draft, path)

    def go_on() -> None:
        beat = 0
        while not stop.wait(period):
            write(beat := beat + 1)

    def progress(done: int, total: int) -> None:
        now[:] = done, total

    write(0)
    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        stop.set()
        thread.join()


class Watch:
    """How long what others write has stayed the same, by the clock of this process.

    Args:
        lease: time after which a number that stands still means that its holder is gone [s].
        clock: of this process, in seconds; it must not jump.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease = lease
        self._clock = clock
        self._seen: dict[Path, tuple[tuple[int, Pulse | None], float]] = {}

    def is_over(self, folder: Path, found: Link) -> bool:
        """Return whether the holder of a job is gone: a process of this host that has ended, or one that is silent."""
        if found.by is not None and is_gone(found.by):
            return True
        told, now = (found.number, pulse(folder, found.number)), self._clock()
        before, since = self._seen.get(folder, (None, now))
        if before != told:
            since = now
        self._seen[folder] = (told, since)
        return now - since > self.lease
