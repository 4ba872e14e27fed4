"""What an executor is, what a job is, and the function that runs many of them."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from sandbox.machine import files

Progress = Callable[[int, int], None]  # steps done, total steps
STATES = ("waiting", "running", "done", "failed")


def free() -> None:
    """Let every write happen: the fence of a job that nobody else can take over."""


class Gone(FileNotFoundError):
    """A folder that jobs belong to was removed or moved away while it was in use."""


class Status(NamedTuple):
    """How far a job is."""

    state: str  # a member of STATES
    done: int = 0  # steps
    total: int = 0  # steps; 0 where it is not known yet


class Work(Protocol):
    """A job with its own folder; after a kill, a second call of `work` continues it.

    It is pickled to reach another process, so it holds plain data.
    """

    @property
    def preload(self) -> tuple[str, ...]:
        """Names of modules that are imported once, before workers are forked."""
        ...

    @property
    def folder(self) -> Path:
        """Folder of the job; no two jobs share one."""
        ...

    @property
    def alone(self) -> bool:
        """Whether it gets a process of its own: the user's code may leave anything behind for the next job."""
        ...

    @property
    def has_result(self) -> bool:
        """Whether its result is in its folder: then it ended after the caller had listed what is missing."""
        ...

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        """Do the job, in a worker; write into its folder alone, never into an index.

        Args:
            progress: called with the steps done and the total number of steps.
            fence: called before each write into the folder; it raises where another worker has taken the job over.
        """
        ...

    def noted(self, state: str) -> None:
        """Record a new state, in the process of the user's command: the only one that writes an index."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Runs jobs somewhere. One object serves one call of `run_all` at a time."""

    def submit(self, jobs: Sequence[Work], folder: Path) -> None:
        """Hand the jobs over and return at once.

        Args:
            jobs: each in a folder of its own, below `folder`.
            folder: of the comparison, grid, tuning or whatever the jobs belong to; it exists.
        """
        ...

    def status(self) -> dict[Path, Status]:
        """Return how far each job is, by its folder."""
        ...

    def cancel(self) -> None:
        """End what still runs; a second call does nothing."""
        ...

    def gather(self, progress: Progress) -> dict[Path, str]:
        """Wait for all jobs.

        Args:
            progress: called several times a second with the steps done and the total number of steps.

        Returns: the error of each job that failed, by folder.
        """
        ...


def run_all(jobs: Sequence[Work], executor: Executor, progress: Progress, folder: Path) -> dict[Path, str]:
    """Run every job, and end what still runs whatever happens.

    Args:
        jobs: each in a folder of its own.
        executor: where they run.
        progress: called with the steps done and the total number of steps, several times a second.
        folder: that all jobs belong to.

    Returns: the error of each job that failed, by folder.

    Raises:
        Gone: when the folder, or one that holds those of jobs, is removed or moved away.
    """
    guard = guarded(jobs, folder, lambda done, total: None)
    states = dict.fromkeys((job.folder for job in jobs), "waiting")

    def note(now: dict[Path, str]) -> None:
        for job in jobs:
            state = now.get(job.folder, "waiting")
            if state != states[job.folder]:
                states[job.folder] = state
                job.noted(state)

    def step(done: int, total: int) -> None:
        guard(done, total)  # before a state is noted: there is nothing to note it for
        note({place: status.state for place, status in executor.status().items()})
        progress(done, total)

    try:
        executor.submit(jobs, folder)
        errors = executor.gather(step)
    except FileNotFoundError:  # of the executor, between two steps
        guard(0, 0)
        raise
    finally:
        executor.cancel()
    guard(0, 0)
    note({job.folder: "failed" if job.folder in errors else "done" for job in jobs})
    return errors


def guarded(jobs: Sequence[Work], folder: Path, progress: Progress) -> Progress:
    """Return a progress that raises Gone when the folder of the jobs, or one that holds theirs, is not what it was.

    Args:
        jobs: each in a folder of its own.
        folder: that all jobs belong to.
        progress: called otherwise.
    """
    places = dict.fromkeys([folder, *(job.folder.parent for job in jobs)])
    before = {place: found for place in places if (found := files.same(place)) is not None}

    def step(done: int, total: int) -> None:
        for place, found in before.items():
            if files.same(place) != found:
                raise Gone(errno.ENOENT, "it was removed or moved away while it was in use", str(place))
        progress(done, total)

    return step


def summed(found: dict[Path, Status]) -> tuple[int, int]:
    """Return the steps done and the total number of steps of all jobs; those that nobody saw are as the longest's.

    >>> summed({Path("a"): Status("running", 3, 10), Path("b"): Status("waiting"), Path("c"): Status("done")})
    (13, 30)
    """
    longest = max((status.total for status in found.values()), default=0)
    unseen = sum(status.state == "done" and not status.total for status in found.values())
    return sum(status.done for status in found.values()) + longest * unseen, longest * len(found)
