"""Many runs on a few processes: a worker that is killed is started again, an orphan ends itself."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sandbox.executors.base import Work
from sandbox.machine.memory import keep_freed_memory

RESTARTS = 5  # of one run whose worker dies by a signal


def run_all(jobs: Sequence[Work], processes: int, progress: Callable[[int, int], None]) -> dict[Path, str]:
    """Do every job, `processes` at a time; returns the error of each that failed, by folder.

    `progress` is told the steps done and the steps in all, several times a second.
    """
    context: Any = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    if os.name != "nt":
        context.set_forkserver_preload(sorted({name for job in jobs for name in job.preload}))
    waiting = list(jobs)
    if not waiting:
        return {}
    counters = {job.folder: context.Array("q", 2) for job in jobs}
    restarts = dict.fromkeys(counters, 0)
    running: dict[Any, tuple[Any, Any, Work]] = {}
    errors: dict[Path, str] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, counters[job.folder], sender))
                process.start()
                sender.close()
                running[process.sentinel] = (process, receiver, job)
            for sentinel in wait(list(running), timeout=0.2):
                process, receiver, job = running.pop(sentinel)
                process.join()
                message = _last_word(receiver)
                if message is None and restarts[job.folder] < RESTARTS:
                    restarts[job.folder] += 1
                    waiting.insert(0, job)
                elif message != "done":
                    errors[job.folder] = message or f"its worker was killed {RESTARTS + 1} times (out of memory?)"
            done = [list(counter) for counter in counters.values()]
            longest = max(steps for _, steps in done)  # of those that have begun; the others are taken to be as long
            progress(sum(steps for steps, _ in done), longest * len(done))
    finally:
        for process, _, _ in running.values():
            process.kill()
    return errors


def _last_word(receiver: Any) -> str | None:
    """What the worker said before it ended; None if it was killed before it could."""
    try:
        return str(receiver.recv()) if receiver.poll() else None
    except EOFError:
        return None


def _work(job: Work, counter: Any, sender: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()

    def progress(done: int, total: int) -> None:
        counter[0], counter[1] = done, total

    try:
        job.work(progress)
        sender.send("done")
    except Exception as error:  # whatever stops a run is reported beside the others' results
        message, trace = f"{type(error).__name__}: {error}", traceback.format_exc()
        with suppress(OSError, sqlite3.Error):  # the disk may be full
            (job.folder / "error.txt").write_text(trace)
            job.failed()
        sender.send(message)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(0.1)
    os._exit(1)
