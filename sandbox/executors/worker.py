"""What a worker does with a job, wherever it runs: do it, and say how it ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress

from sandbox.executors.base import Progress, Work, free
from sandbox.machine.files import write_atomically

DONE = "done"  # what a worker says of a job that is done; anything else is the text of an exception


class TakenOver(BaseException):
    """Another worker has this job now.

    No Exception: what handles errors writes into the folder of the run, which belongs to the other one.
    """


def carried_out(job: Work, progress: Progress, fence: Callable[[], None] = free) -> str:
    """Do a job and return `DONE`, or the text of its exception, so that one failure does not stop the others.

    Raises:
        TakenOver: by its fence.
    """
    try:
        job.work(progress, fence)
    except (KeyboardInterrupt, TakenOver):
        raise
    except BaseException as error:  # sys.exit in a user's code, too, is the failure of that job
        record(job, traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return DONE


def record(job: Work, text: str) -> None:
    """Write why a job failed into its folder."""
    with suppress(OSError):  # the disk may be full
        write_atomically(job.folder / "error.txt", text.encode(errors="backslashreplace"))
