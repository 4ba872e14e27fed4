"""Run jobs as arrays of SLURM, submitted by submitit; they go on without the caller, who finds them again.

The scripts that SLURM got and what the jobs print are in `slurm/`, in the folder of the comparison (or whatever the
jobs belong to); the claim in the folder of a run (`.claims/`) names its log.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sandbox.executors.base import Progress, Status, Work, summed
from sandbox.executors.local import RESTARTS
from sandbox.executors.remote import ENDED, SHARED, Ticket, do, hand_over, heard, ticket_of
from sandbox.executors.slurm_queue import Queued, Silent, empty, largest_array, queue, require_commands
from sandbox.machine.files import require_inside

PLAIN = re.compile(r"[\w.,:=+@%/\[\]()&|*-]+", re.ASCII)  # what SLURM's names, lists and constraints are written with
PATIENCE = 60.0  # [s] to wait until cancelled jobs have ended


@dataclass(frozen=True)
class Errand:
    """What SLURM runs: a job; when SLURM takes its node away, it is put into the queue again and continues."""

    job: Work
    ticket: str
    home: Path

    def __call__(self) -> str:
        """Do the job and return its error, empty if it is done."""
        end_at_once()
        return do(self.job, self.ticket, self.home, _submitit().JobEnvironment().paths.stderr)

    def checkpoint(self) -> Any:
        """Return what submitit runs after a requeue: the same, because a job continues from its folder."""
        return _submitit().helpers.DelayedSubmission(self)


class Slurm:
    """Jobs in the queue of a SLURM cluster whose nodes see the run folders.

    Args:
        jobs: how many run at a time.
        partition: where; the cluster's default if None, as for all that follow.
        time: limit of one job [min], 60 by default; a job that reaches it is requeued and continues, up to 5 times.
        mem: memory of one job, such as "4G".
        cpus: processors of one job, 1 by default.
        gres: generic resources of one job, such as "gpu:1".
        account: that pays.
        qos: quality of service.
        constraint: features of the nodes, such as "avx512&ib".
        exclude: nodes that are not used, such as "node[3-5]".
        setup: lines of shell that run before the job, such as "module load python". They are code of yours.
        poll: how often the queue is asked [s], 10 by default.

    Raises:
        ValueError: for a value that SLURM does not know how to read.
        ImportError: if submitit is not installed.
    """

    def __init__(
        self,
        jobs: int,
        *,
        partition: str | None = None,
        time: int = 60,
        mem: str | None = None,
        cpus: int = 1,
        gres: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        exclude: str | None = None,
        setup: Sequence[str] = (),
        poll: float = 10.0,
    ) -> None:
        words = {"partition": partition, "gres": gres, "account": account, "qos": qos, "constraint": constraint}
        words |= {"exclude": exclude, "mem": mem}
        _require_values(words, {"time": time, "cpus": cpus}, poll)
        self._submitit = _submitit()
        self._parameters: dict[str, Any] = {f"slurm_{name}": word for name, word in words.items() if word is not None}
        self._parameters |= {"timeout_min": time, "cpus_per_task": cpus, "slurm_array_parallelism": jobs}
        self._parameters |= {"slurm_setup": _lines(setup), "slurm_signal_delay_s": min(90, time * 30)}
        self._poll = float(poll)
        self._logs = Path()
        self._jobs: dict[Path, Work] = {}
        self._tickets: dict[Path, Ticket] = {}
        self._numbers: dict[str, str] = {}  # that SLURM gave, by ticket
        self._restarts: dict[Path, int] = {}
        self._errors: dict[Path, str] = {}
        self._found: dict[Path, Status] = {}

    def submit(self, jobs: Sequence[Work], folder: Path) -> None:
        """Put the jobs into the queue, except those that an earlier call has put there and that have not ended.

        Raises:
            ValueError: if this machine has no `sbatch`, SLURM does not answer or refuses the jobs, or their folder has
                a name that it does not take.
        """
        require_commands()
        self._logs = folder.absolute() / "slurm"
        if not re.fullmatch(r"[^%\\\n\r]+", str(self._logs)):
            raise ValueError(f"{self._logs}: SLURM replaces % and \\ in names of logs; use a folder of another name")
        require_inside(folder, [self._logs, *(self._logs.iterdir() if self._logs.is_dir() else ())])
        self._jobs = {job.folder: job for job in jobs}
        self._restarts, self._errors = dict.fromkeys(self._jobs, 0), {}
        self._found = dict.fromkeys(self._jobs, Status("waiting"))
        known = {place: ticket_of(place) for place in self._jobs}
        queued = queue(ticket.name for ticket in known.values())
        self._tickets = {
            place: ticket
            for place, ticket in known.items()
            if ticket.name in queued and heard(place, ticket, self._found[place])[0].state not in ENDED
        }
        self._numbers = {ticket.name: queued[ticket.name].job for ticket in self._tickets.values()}
        self._send([job for job in jobs if job.folder not in self._tickets])

    def status(self) -> dict[Path, Status]:
        """Return how far each job was when the queue was last asked."""
        return dict(self._found)

    def gather(self, progress: Progress) -> dict[Path, str]:
        """Wait for all jobs; put one that ended without an answer into the queue again, up to 5 times."""
        while True:
            with suppress(Silent):  # nothing is known; the controller may be starting again
                self._look()
            progress(*summed(self._found))
            if all(status.state in ENDED for status in self._found.values()):
                return dict(self._errors)
            time.sleep(self._poll)

    def cancel(self) -> None:
        """Take what is left out of the queue, and remove what submitit pickled."""
        with suppress(Silent):  # then SLURM goes on, and the next call finds the jobs in its queue
            if empty(self._names(), PATIENCE):
                for path in [*self._logs.glob("*.pkl"), *self._logs.glob(".submission_file_*")]:
                    path.unlink(missing_ok=True)

    def _look(self) -> None:
        """See how far every job is, and send those again that died."""
        queued = queue(self._names())  # before the folders: a job that ends now is not taken for dead
        dead = []
        for place, job in self._jobs.items():
            if self._found[place].state in ENDED:
                continue
            ticket = self._tickets[place]
            status, error = self._judged(*heard(place, ticket, self._found[place]), queued.get(ticket.name))
            if status.state == "waiting" and ticket.name not in queued:
                self._restarts[place] += 1
                error = self._hopeless(place)
                dead += [] if error else [job]
            if error:
                self._errors[place] = error
                status = status._replace(state="failed")
            self._found[place] = status
        self._send(dead)

    def _names(self) -> list[str]:
        return [ticket.name for ticket in self._tickets.values()]

    @staticmethod
    def _judged(status: Status, error: str, one: Queued | None) -> tuple[Status, str]:
        """Return how far a job is by its folder and the queue; a worker that is not in the queue has died."""
        if status.state in ENDED:
            return status, error
        if one is not None and one.stuck:
            return status, f"SLURM never starts it ({one.stuck}); change the options of the executor"
        return status._replace(state="waiting" if one is None or one.waits else "running"), ""

    def _hopeless(self, place: Path) -> str:
        """Return why a job that died is not sent again, empty if it is."""
        ticket, times = self._tickets[place].name, f"SLURM ended its job {self._restarts[place]} times"
        if not (self._logs / f"{self._numbers[ticket]}_0_log.out").exists():
            return f"{times} before it wrote a line into {self._logs}: {SHARED}" if self._restarts[place] > 1 else ""
        return "" if self._restarts[place] <= RESTARTS else f"{times} (out of memory?); see {self._logs}"

    def _send(self, jobs: Sequence[Work]) -> None:
        """Submit arrays, one after the other where one is too small for all."""
        before = ""
        largest = largest_array() if len(jobs) > 1 else 1
        for start in range(0, len(jobs), largest):
            before = self._send_array(jobs[start : start + largest], before)

    def _send_array(self, jobs: Sequence[Work], before: str) -> str:
        """Submit one array, to begin after another one has ended if one is named, and return its number."""
        name, home = f"sandbox-{uuid4().hex[:12]}", Path.cwd()
        errands = [Errand(job, f"{name}.{index}", home) for index, job in enumerate(jobs)]
        for errand in errands:  # before they are sent: who finds the ticket asks the queue about it
            self._tickets[errand.job.folder] = hand_over(errand.job.folder, errand.ticket)
        further = {"requeue": True} | ({"dependency": f"afterany:{before}"} if before else {})
        executor = self._submitit.AutoExecutor(self._logs, cluster="slurm", slurm_max_num_timeout=RESTARTS)
        executor.update_parameters(name=name, slurm_additional_parameters=further, **self._parameters)
        try:
            sent = executor.submit_array(errands)
        except self._submitit.core.utils.FailedJobError as error:
            raise ValueError(f"sbatch refused the jobs: {error}; change the options of the executor") from None
        self._numbers |= {errand.ticket: one.job_id for errand, one in zip(errands, sent, strict=True)}
        return str(sent[0].job_id).partition("_")[0]


def end_at_once() -> None:
    """Let this process end as if killed after a requeue; otherwise submitit raises SystemExit, as a failing job may."""
    number = getattr(signal, f"SIG{_submitit().JobEnvironment().USR_SIG}")
    requeue = signal.getsignal(number)

    def handler(signum: int, frame: Any) -> None:
        try:
            if callable(requeue):
                requeue(signum, frame)
        except SystemExit:
            os._exit(1)

    signal.signal(number, handler)


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError:
        raise ImportError(
            "executor slurm needs submitit, which is not installed: pip install 'learning-rule-sandbox[slurm]'"
        ) from None


def _require_values(words: dict[str, str | None], counts: dict[str, int], poll: float) -> None:
    """Raise ValueError for a value that SLURM cannot read, or would read as something else."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}={count!r}: give a whole number of at least 1")
    if isinstance(poll, bool) or not isinstance(poll, int | float) or not 0 < poll < float("inf"):
        raise ValueError(f"poll={poll!r}: give seconds, more than 0")
    for name, word in words.items():
        if word is not None and not (isinstance(word, str) and PLAIN.fullmatch(word)):
            raise ValueError(f"{name}={word!r}: write it as sbatch takes it, without spaces, quotes and line breaks")
    if words["mem"] is not None and not re.fullmatch(r"[1-9]\d*[KMGT]?", words["mem"]):
        raise ValueError(f'mem={words["mem"]!r}: give a whole number and a unit, such as "4G" or "500M"')


def _lines(setup: Sequence[str]) -> list[str]:
    """Return the lines of `setup`; raise ValueError if one is not a line."""
    lines = [setup] if isinstance(setup, str) else setup
    if not isinstance(lines, Sequence) or not all(isinstance(line, str) and line.isprintable() for line in lines):
        raise ValueError(f"setup={setup!r}: give a list of lines of shell, each without a line break")
    return list(lines)
