"""Run jobs on any number of hosts that see one folder, without a server: whoever claims a job does it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.executors import claims, session
from sandbox.executors.base import Progress, Status, Work, free, summed
from sandbox.executors.claims import Claim, Link, Watch
from sandbox.executors.local import KILLED, PAUSE, RESTARTS
from sandbox.executors.pool import TAKEN_OVER, Pool
from sandbox.executors.worker import DONE, record
from sandbox.machine.packages import own_version
from sandbox.machine.revision import revision

LEASE = 30.0  # [s] without a sign after which a holder on another host counts as gone
BEATS = 30  # in a lease
LOOK = 1.0  # [s] between two looks at what others have
LOCK = ".lock"  # of a folder in use; a file that the system locks, and unlocks when its process ends


@dataclass(frozen=True)
class Claimed:
    """A job that this host has claimed, for one of its workers."""

    job: Work
    claim: Claim
    period: float  # between two beats [s]

    @property
    def preload(self) -> tuple[str, ...]:
        """Those of the job."""
        return self.job.preload

    @property
    def folder(self) -> Path:
        """That of the job."""
        return self.job.folder

    @property
    def alone(self) -> bool:
        """As the job says."""
        return self.job.alone

    @property
    def has_result(self) -> bool:
        """As the job says."""
        return self.job.has_result

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        """Do the job, as long as nobody takes it over."""
        self.claim.fence()
        if self.claim.left_behind:  # by a suspended process, or by a host that is gone: its lock is not ours
            (self.folder / LOCK).unlink(missing_ok=True)
        with self.claim.kept(self.period) as told:

            def both(done: int, total: int) -> None:
                progress(done, total)
                told(done, total)

            self.job.work(both, self.claim.fence)

    def noted(self, state: str) -> None:
        """Do nothing: this is the worker's copy."""


class Shared:
    """All hosts that see the folder of the jobs; each runs some processes.

    A caller submits the jobs, works on them itself, and waits for all. Others join it (`sandbox compare --join FOLDER`)
    and leave when nothing is left to claim. A process that ends is noticed at once on its own host, and on others after
    the lease.

    Args:
        jobs: number of processes on this host.
        lease: time without a sign after which a holder on another host counts as gone [s], 30 by default.

    Raises:
        ValueError: for a lease that is not a time above 0.
    """

    def __init__(self, jobs: int, lease: float = LEASE) -> None:
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not 0 < lease < math.inf:
            raise ValueError(f"lease={lease!r}: give a time in seconds above 0, such as lease={LEASE}")
        self.processes, self.lease = jobs, float(lease)
        self._joins = False
        self._pool: Pool | None = None
        self._watch = Watch(lease)
        self._waiting: dict[Path, Work] = {}  # in the order of the plan, those given back first
        self._ours: dict[Path, Claimed] = {}
        self._theirs: dict[Path, Work] = {}
        self._status: dict[Path, Status] = {}
        self._errors: dict[Path, str] = {}
        self._restarts: dict[Path, int] = {}
        self._looked = -LOOK
        self.here = 0  # jobs that this host has done

    @classmethod
    def joining(cls, jobs: int, lease: float) -> Shared:
        """Return the executor of a host that joins a call of another one, and leaves its session as it is."""
        made = cls(jobs, lease)
        made._joins = True
        return made

    def submit(self, jobs: Sequence[Work], folder: Path) -> None:
        """Write down which jobs there are; those that have to be done again are free."""
        self._status = {job.folder: Status("waiting") for job in jobs}
        self._waiting = {job.folder: job for job in jobs}
        self._ours, self._theirs, self._errors = {}, {}, {}
        self._restarts = dict.fromkeys(self._status, 0)
        self._pool = Pool(self.processes, jobs)
        if not self._joins:
            for job in jobs:
                found = claims.newest(job.folder)
                if found is not None and found.state in (claims.DONE, claims.FAILED) and not job.has_result:
                    claims.add(job.folder, found.number + 1, claims.FREE)
            session.begin(folder, self.lease, list(self._status))

    def status(self) -> dict[Path, Status]:
        """Return how far each job is, by its folder, wherever it runs."""
        if self._pool is not None:
            self._status |= self._pool.running()
        return dict(self._status)

    def gather(self, progress: Progress) -> dict[Path, str]:
        """Claim jobs and wait until all are done or failed, here or elsewhere."""
        assert self._pool is not None, "submit comes first"
        while self._waiting or self._ours or self._theirs:
            self._look(self._pool)
            self._fill(self._pool)
            for job, message, steps in self._pool.ended(PAUSE):
                self._ended(job.folder, message, steps)
            progress(*summed(self.status()))
        return self._errors

    def cancel(self) -> None:
        """End the workers of this host and give its jobs back; other hosts go on with theirs."""
        if self._pool is not None:
            self._pool.end()
            self._pool = None
        for held in self._ours.values():
            try:
                held.claim.end(claims.FREE)
            except OSError:  # others find out that this process has ended, or is silent
                continue
        self._ours = {}

    def _fill(self, pool: Pool) -> None:
        """Claim jobs for the workers that have none."""
        for job in list(self._waiting.values()):
            if not pool.has_room:
                return
            found = claims.newest(job.folder)
            if found is None or found.state == claims.FREE or self._is_over(job.folder, found):
                held = claims.claim(job.folder, found, version=own_version(), revision=revision())
                if held is not None:
                    del self._waiting[job.folder]
                    self._ours[job.folder] = mine = Claimed(job, held, self.lease / BEATS)
                    pool.start(mine)
                    continue
                found = claims.newest(job.folder)
            self._sort(job, found)

    def _look(self, pool: Pool) -> None:
        """See, once a second, what others have: jobs that ended, whose holders are gone, or that they took from us."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        for place, job in list(self._theirs.items()):
            found = claims.newest(place)
            if found is None or found.state == claims.FREE or self._is_over(place, found):
                del self._theirs[place]
                self._waiting = {place: job, **self._waiting}
            else:
                self._sort(job, found)
        for job in list(self._waiting.values()):  # all go through the plan in its order, so that the rest is free, too
            found = claims.newest(job.folder)
            if found is None or found.state == claims.FREE or self._is_over(job.folder, found):
                break
            self._sort(job, found)
        for place, held in self._ours.items():
            if not held.claim.is_ours:  # its worker was suspended, or this host could not write
                pool.kill(place)

    def _is_over(self, place: Path, found: Link) -> bool:
        return found.state == claims.HELD and self._watch.is_over(place, found)

    def _sort(self, job: Work, found: Link | None) -> None:
        """Note what another host has, or has ended, of a job that is not ours."""
        place = job.folder
        if found is None or found.state == claims.FREE:
            return
        self._waiting.pop(place, None)
        if found.state == claims.HELD:
            self._theirs[place] = job
            told = claims.pulse(place, found.number)
            self._status[place] = Status("running", *(told[1:] if told else ()))
            return
        self._theirs.pop(place, None)
        os.listdir(place)  # so that a network file system shows what the other host has written
        before = self._status[place]
        self._status[place] = before._replace(state=found.state, done=before.total)
        if found.state == claims.FAILED:
            self._errors[place] = found.error

    def _ended(self, place: Path, message: str | None, steps: tuple[int, int]) -> None:
        """Say in the chain how a job of ours ended; one whose worker was killed starts again, with its claim."""
        held = self._ours[place]
        if message is None and held.claim.is_ours:
            self._restarts[place] += 1
            if self._restarts[place] <= RESTARTS:
                assert self._pool is not None
                self._pool.start(held)
                return
            record(held.job, message := KILLED)
        del self._ours[place]
        if message is None or message == TAKEN_OVER:
            self._theirs[place] = held.job
            return
        state = claims.DONE if message == DONE else claims.FAILED
        if not held.claim.end(state, "" if message == DONE else message):
            self._theirs[place] = held.job
            return
        self._status[place] = Status(state, *steps)
        self.here += state == claims.DONE
        if message != DONE:
            self._errors[place] = message
