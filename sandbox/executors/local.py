"""Run many jobs on a few processes of this machine; a worker that is killed is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sandbox.executors import session
from sandbox.executors.base import Progress, Status, Work, summed
from sandbox.executors.pool import Pool
from sandbox.executors.worker import DONE, record

RESTARTS = 5  # of one job whose worker is killed by a signal
KILLED = f"its worker was killed {RESTARTS + 1} times (out of memory?)"
PAUSE = 0.2  # [s] between two reports of progress


class Local:
    """The processes of this machine.

    Args:
        jobs: number of processes.
    """

    def __init__(self, jobs: int) -> None:
        self.processes = jobs
        self._pool: Pool | None = None
        self._waiting: list[Work] = []
        self._status: dict[Path, Status] = {}
        self._errors: dict[Path, str] = {}
        self._restarts: dict[Path, int] = {}

    def submit(self, jobs: Sequence[Work], folder: Path) -> None:
        """Start workers with the first jobs; raise ValueError for jobs that another host has joined."""
        session.end(folder, [job.folder for job in jobs])
        self._waiting = list(jobs)
        self._status = {job.folder: Status("waiting") for job in jobs}
        self._errors, self._restarts = {}, dict.fromkeys(self._status, 0)
        self._pool = Pool(self.processes, jobs)
        self._fill(self._pool)

    def status(self) -> dict[Path, Status]:
        """Return how far each job is, by its folder."""
        if self._pool is not None:
            self._status |= self._pool.running()
        return dict(self._status)

    def gather(self, progress: Progress) -> dict[Path, str]:
        """Wait for all jobs, and start the next whenever one has ended."""
        assert self._pool is not None, "submit comes first"
        while self._waiting or self._pool.busy:
            self._fill(self._pool)
            for ended in self._pool.ended(PAUSE):
                self._ended(*ended)
            progress(*summed(self.status()))
        return self._errors

    def cancel(self) -> None:
        """End all workers."""
        if self._pool is not None:
            self._pool.end()
            self._pool = None

    def _fill(self, pool: Pool) -> None:
        while self._waiting and pool.has_room:
            pool.start(self._waiting.pop(0))

    def _ended(self, job: Work, message: str | None, steps: tuple[int, int]) -> None:
        """Note the end of a job; one whose worker was killed starts again."""
        place = job.folder
        if message is None:  # killed before it could answer
            self._restarts[place] += 1
            if self._restarts[place] <= RESTARTS:
                self._waiting.insert(0, job)
                return
            record(job, message := KILLED)
        if message != DONE:
            self._errors[place] = message
        self._status[place] = Status("done" if message == DONE else "failed", *steps)
