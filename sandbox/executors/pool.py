"""A few processes of this machine that do one job after another; orphaned ones exit."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.executors.base import Status, Work
from sandbox.executors.worker import TakenOver, carried_out
from sandbox.machine.memory import keep_freed_memory

TAKEN_OVER = "taken over"  # what a worker says of a job that another one has now


@dataclass
class Worker:
    """A process that does one job after another, so that modules are imported and kernels compiled only once.

    A job that is `alone` gets a new process, which ends with it.
    """

    process: Any
    pipe: Any
    counter: Any  # steps done and total steps of its job, in shared memory
    job: Work | None = None
    used: bool = False


class Ended(NamedTuple):
    """A job that has ended."""

    job: Work
    message: str | None  # the worker's last word; None if it was killed
    steps: tuple[int, int]  # done and in total


class Pool:
    """At most so many processes, started when they are needed and forked from a server that has the imports.

    Args:
        processes: how many at most.
        jobs: those to come, for the modules that they want imported.
    """

    def __init__(self, processes: int, jobs: Sequence[Work]) -> None:
        self.processes = processes
        self._workers: list[Worker] = []
        self._context = _context(jobs)

    @property
    def busy(self) -> list[Worker]:
        """The workers that have a job."""
        return [worker for worker in self._workers if worker.job is not None]

    @property
    def has_room(self) -> bool:
        """Whether another job can start."""
        return len(self.busy) < self.processes

    def running(self) -> dict[Path, Status]:
        """Return how far each job is that is being done, from shared memory."""
        return {worker.job.folder: Status("running", *worker.counter[:2]) for worker in self._workers if worker.job}

    def start(self, job: Work) -> None:
        """Hand a job to an idle worker, or to a new one."""
        worker = self._idle(job.alone)
        worker.job, worker.used = job, True
        worker.counter[0] = worker.counter[1] = 0
        with suppress(OSError):  # killed while it was idle: `ended` finds that it is not alive
            worker.pipe.send(job)

    def ended(self, timeout: float) -> list[Ended]:
        """Wait for a job to end; return those that have.

        Args:
            timeout: how long to wait at most [s].
        """
        busy = self.busy
        wait([end for worker in busy for end in (worker.pipe, worker.process.sentinel)], timeout=timeout)
        found = []
        for worker in busy:
            message = _last_word(worker)
            if message is None and worker.process.is_alive():
                continue
            job, worker.job = worker.job, None
            assert job is not None
            if message is None or job.alone:
                self._workers.remove(worker)
                _end([worker])
            found.append(Ended(job, message, (worker.counter[0], worker.counter[1])))
        return found

    def kill(self, folder: Path) -> None:
        """Kill the worker of the job in this folder; `ended` then names the job."""
        for worker in self.busy:
            if worker.job is not None and worker.job.folder == folder:
                worker.process.kill()

    def end(self) -> None:
        """End every worker."""
        _end(self._workers)
        self._workers = []

    def _idle(self, new: bool) -> Worker:
        """Return a worker without a job; with `new`, one that has done none, for which a used one is ended."""
        for worker in [worker for worker in self._workers if worker.job is None]:
            if worker.process.is_alive() and not (new and worker.used):
                return worker
            self._workers.remove(worker)
            _end([worker])
        ours, theirs = self._context.Pipe()
        counter = self._context.RawArray("q", 2)  # no lock: one writer, and a torn read only misplaces a progress bar
        process = self._context.Process(target=_serve, args=(theirs, counter))
        process.start()
        theirs.close()  # so that the end of the worker closes the pipe
        self._workers.append(Worker(process, ours, counter))
        return self._workers[-1]


def begin_imports(modules: Iterable[str]) -> None:
    """Start the process from which workers are forked; it imports these modules while the caller goes on.

    A second call changes nothing, and neither does one on Windows, where workers import what they need.
    """
    if os.name != "nt":
        multiprocessing.get_context("forkserver").set_forkserver_preload(sorted(set(modules)))
        ensure_running()


def _context(jobs: Sequence[Work]) -> Any:
    """Return the multiprocessing context: workers are forked from a server that has imported what the jobs need."""
    context: Any = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    if os.name != "nt":
        context.set_forkserver_preload(sorted({name for job in jobs for name in job.preload}))
    return context


def _end(workers: Sequence[Worker]) -> None:
    """End every worker: an idle one by closing its pipe, so that it cleans up, a busy one at once."""
    for worker in workers:
        if worker.job is None:
            worker.pipe.close()
        else:
            worker.process.kill()
    for worker in workers:
        worker.process.join(5.0)
        worker.process.kill()


def _last_word(worker: Worker) -> str | None:
    """Return the message of a worker; None if it has sent nothing, or was killed before it could."""
    try:
        return str(worker.pipe.recv()) if worker.pipe.poll() else None
    except (EOFError, OSError):
        return None


def _serve(pipe: Any, counter: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    with suppress(EOFError):  # the parent has closed its end
        while True:
            pipe.send(_do(pipe.recv(), counter))


def _do(job: Work, counter: Any) -> str:
    """Do a job, with its progress in shared memory; return the last word."""

    def progress(done: int, total: int) -> None:
        counter[0], counter[1] = done, total

    try:
        return carried_out(job, progress)
    except TakenOver:
        return TAKEN_OVER


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(0.1)
    os._exit(1)
