"""Run many jobs on a few local processes; a worker that is killed is replaced, an orphaned one exits."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sandbox.executors.base import Work
from sandbox.machine.memory import keep_freed_memory

RESTARTS = 5  # of one job whose worker is killed by a signal
DONE = "done"  # what a worker sends back; anything else is the text of an exception


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


def run_all(jobs: Sequence[Work], processes: int, progress: Callable[[int, int], None]) -> dict[Path, str]:
    """Run every job, `processes` at a time.

    Args:
        jobs: each in a folder of its own.
        processes: number of workers.
        progress: called with the steps done and the total number of steps, several times a second.

    Returns: the error of each job that failed, by folder.
    """
    waiting = list(jobs)
    steps: dict[Path, tuple[int, int]] = {job.folder: (0, 0) for job in jobs}
    restarts = dict.fromkeys(steps, 0)
    errors: dict[Path, str] = {}
    workers: list[Worker] = []
    context = _context(jobs)
    try:
        while waiting or any(worker.job for worker in workers):
            while waiting and (idle := _idle(workers, processes, context, waiting[0].alone)) is not None:
                idle.job, idle.used = waiting.pop(0), True
                idle.counter[0] = idle.counter[1] = 0
                idle.pipe.send(idle.job)
            busy = [worker for worker in workers if worker.job is not None]
            wait([end for worker in busy for end in (worker.pipe, worker.process.sentinel)], timeout=0.2)
            for worker in busy:
                job = worker.job
                assert job is not None
                steps[job.folder] = (worker.counter[0], worker.counter[1])
                message = _last_word(worker)
                if message is None and worker.process.is_alive():
                    continue
                worker.job = None
                if message is not None and job.alone:
                    workers.remove(worker)
                    _end([worker])
                if message is None:  # killed before it could answer
                    workers.remove(worker)
                    worker.process.join()
                    restarts[job.folder] += 1
                    if restarts[job.folder] <= RESTARTS:
                        waiting.insert(0, job)
                    else:
                        errors[job.folder] = f"its worker was killed {RESTARTS + 1} times (out of memory?)"
                        _record(job, errors[job.folder])
                elif message != DONE:
                    errors[job.folder] = message
            longest = max(total for _, total in steps.values())  # jobs that have not begun are assumed to be as long
            progress(sum(done for done, _ in steps.values()), longest * len(steps))
    finally:
        _end(workers)
    return errors


def _context(jobs: Sequence[Work]) -> Any:
    """Return the multiprocessing context: workers are forked from a server that has imported what the jobs need."""
    context: Any = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    if os.name != "nt":
        context.set_forkserver_preload(sorted({name for job in jobs for name in job.preload}))
    return context


def _idle(workers: list[Worker], processes: int, context: Any, new: bool) -> Worker | None:
    """Return a worker without a job, started if fewer than `processes` are alive; None if all are busy.

    With `new`, an idle worker that has been used is ended first.
    """
    for worker in [worker for worker in workers if worker.job is None and worker.process.is_alive()]:
        if not (new and worker.used):
            return worker
        workers.remove(worker)
        _end([worker])
    if sum(worker.process.is_alive() for worker in workers) >= processes:
        return None
    ours, theirs = context.Pipe()
    counter = context.RawArray("q", 2)  # no lock: there is one writer, and a torn read only misplaces a progress bar
    process = context.Process(target=_serve, args=(theirs, counter))
    process.start()
    theirs.close()  # so that the end of the worker closes the pipe
    workers.append(Worker(process, ours, counter))
    return workers[-1]


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
    """Run a job and return `DONE`, or the text of its exception, so that one failure does not stop the others."""

    def progress(done: int, total: int) -> None:
        counter[0], counter[1] = done, total

    try:
        job.work(progress)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit in a user's code, too, is the failure of that job
        _record(job, traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return DONE


def _record(job: Work, text: str) -> None:
    """Write why a job failed into its folder and the index."""
    with suppress(OSError):  # the disk may be full
        (job.folder / "error.txt").write_text(text, errors="backslashreplace")
        job.failed()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(0.1)
    os._exit(1)
