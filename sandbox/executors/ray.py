"""Run jobs as tasks of Ray, on a cluster that is there or on one that is raised for the call.

What a job prints is in `ray.log` in its folder. Nothing is uploaded: the nodes have the same project installed and see
the run folders. Ray ends the tasks of a caller that dies; the next call continues them.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from uuid import uuid4

from sandbox.executors.base import Progress, Status, Work, summed
from sandbox.executors.local import KILLED, RESTARTS
from sandbox.executors.remote import SHARED, Ticket, do, hand_over, heard
from sandbox.executors.worker import record
from sandbox.machine.files import opened_to_write

STORE = 80_000_000  # [bytes] of Ray's object store where we raise it: what passes through it is a line of text
PAUSE = 0.5  # [s] between two reports of progress
CONNECT = 5.0  # [s] for an address to take a connection; Ray itself tries for a minute, and prints warnings
LOG = "ray.log"


class Ray:
    """Tasks of Ray on nodes that see the run folders.

    Args:
        jobs: how many run at a time.
        address: of a cluster, such as "10.0.0.1:6379", or "auto" for the one that this machine belongs to. By default
            the one that the environment variable RAY_ADDRESS names, otherwise one is raised on this machine and ended
            with the call.
        cpus: processors that one job reserves, 1 by default.
        gpus: GPUs that one job reserves, 0 by default; a fraction lets several jobs share one.

    Raises:
        ValueError: for a number or an address that is none.
        ImportError: if Ray is not installed.
    """

    def __init__(self, jobs: int, *, address: str | None = None, cpus: float = 1, gpus: float = 0) -> None:
        for name, number, least in (("cpus", cpus, "more than 0"), ("gpus", gpus, "0 or more")):
            fits = isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number < float("inf")
            if not fits or (name == "cpus" and number == 0):
                raise ValueError(f"{name}={number!r}: give a number, {least}")
        if address is not None and not (isinstance(address, str) and re.fullmatch(r"auto|\S+:\d+", address)):
            raise ValueError(f'address={address!r}: give "auto" or HOST:PORT, such as address="10.0.0.1:6379"')
        self._ray = _ray()
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self._limit, self._cpus, self._gpus = jobs, cpus, gpus
        self._begun = False  # whether we connected, so that we disconnect
        self._waiting: list[Work] = []
        self._running: dict[Any, Work] = {}  # by the reference that Ray gave
        self._tickets: dict[Path, Ticket] = {}
        self._found: dict[Path, Status] = {}
        self._errors: dict[Path, str] = {}

    def submit(self, jobs: Sequence[Work], folder: Path) -> None:
        """Connect to the cluster, or raise one, and start the first jobs."""
        self._waiting, self._running, self._tickets, self._errors = list(jobs), {}, {}, {}
        self._found = {job.folder: Status("waiting") for job in jobs}
        if not self._ray.is_initialized():
            self._connect()
            self._begun = True
        self._fill()

    def status(self) -> dict[Path, Status]:
        """Return how far each job is; its steps are read from its folder."""
        for place in [job.folder for job in self._running.values()]:
            self._found[place] = heard(place, self._tickets[place], self._found[place])[0]
        return dict(self._found)

    def gather(self, progress: Progress) -> dict[Path, str]:
        """Wait for all jobs, and start the next whenever one has ended; Ray itself replaces workers that die."""
        while self._running:
            ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=PAUSE)
            for one in ended:
                self._end(one)
            self._fill()
            progress(*summed(self.status()))
        return dict(self._errors)

    def cancel(self) -> None:
        """End the tasks that still run, and the cluster if we raised it."""
        for one in self._running:
            self._ray.cancel(one, force=True)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=30)
        self._running, self._waiting = {}, []
        if self._begun:
            self._begun = False
            self._ray.shutdown()  # ends the cluster only if this process has raised it

    def _connect(self) -> None:
        further: dict[str, Any] = {"address": self._address}
        if self._address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its authors
            count = math.ceil(self._limit * self._cpus)
            gpus = {"num_gpus": math.ceil(self._limit * self._gpus)} if self._gpus else {}
            further = {"num_cpus": count, "object_store_memory": STORE, "include_dashboard": False, **gpus}
            further["address"] = "local"  # with None, Ray would look for a cluster that others raised here
        else:
            _require_reachable(self._address)
        try:
            self._ray.init(log_to_driver=False, logging_level="warning", **further)
        except Exception as error:  # Ray raises plain ones, too
            raise ValueError(f"executor ray: {_reason(error, self._address)}") from None

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._limit:
            job = self._waiting.pop(0)
            self._tickets[job.folder] = ticket = hand_over(job.folder, uuid4().hex)
            task = self._ray.remote(
                num_cpus=self._cpus,
                num_gpus=self._gpus,
                max_retries=RESTARTS,
                max_calls=1 if job.alone else 0,  # a process of its own: the user's code may leave anything behind
            )(_task)
            self._running[task.remote(job, ticket.name, Path.cwd(), _settings())] = job

    def _end(self, one: Any) -> None:
        """Note the end of a task."""
        job, exceptions = self._running.pop(one), self._ray.exceptions
        try:
            error = self._ray.get(one)
        except (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError):
            record(job, error := KILLED)
        except exceptions.RayTaskError as failure:
            error = str(failure.cause)
            if isinstance(failure.cause, ImportError):
                error = f"a node cannot import the project ({error}); install the same version on every node"
        except exceptions.RayError as failure:
            error = f"{type(failure).__name__}: {failure}"
        if error:
            self._errors[job.folder] = error
        last, _ = heard(job.folder, self._tickets[job.folder], self._found[job.folder])
        self._found[job.folder] = last._replace(state="failed" if error else "done")


def _task(job: Work, ticket: str, home: Path, settings: dict[str, str]) -> str:
    """Do a job in a process of Ray, which may be on another machine, and return its error."""
    os.environ.update(settings)
    log = home / job.folder / LOG
    with suppress(FileNotFoundError), _appended(log) as file, redirect_stdout(file), redirect_stderr(file):
        return do(job, ticket, home, log)
    raise OSError(f"{os.uname().nodename} does not see {log.parent}: {SHARED}")


def _appended(log: Path) -> TextIOWrapper:
    """Open a log for text at its end; raise ValueError for a link."""
    return TextIOWrapper(opened_to_write(log, os.O_CREAT | os.O_APPEND))


def _settings() -> dict[str, str]:
    """Return the settings of this project in the environment; those of Ray's processes come from who raised it."""
    return {name: value for name, value in os.environ.items() if name.startswith("SANDBOX_")}


def _require_reachable(address: str) -> None:
    """Raise ValueError if nothing takes a connection at HOST:PORT, before Ray tries for a minute."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():  # "auto" and the like, which Ray looks up
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
    except (OSError, OverflowError, UnicodeError) as error:  # a port above 65535, a host that DNS cannot hold
        raise ValueError(f"executor ray: {_reason(error, address)}") from None


def _reason(error: Exception, address: str | None) -> str:
    """Return in words why there is no connection."""
    text = str(error)
    if "ersion mismatch" in text:
        found = re.search(r"Ray: ([\w.]+).*?Python: ([\w.]+)", text, re.DOTALL)
        theirs = f"Ray {found[1]} and Python {found[2]}" if found else "other versions"
        ours = f"Ray {_ray().__version__} and Python {sys.version.split()[0]}"
        return f"the cluster runs {theirs}, this process {ours}; use the same on both"
    if address is not None:
        why = getattr(error, "strerror", None) or text.partition("\n")[0] or type(error).__name__
        return (
            f"no cluster answers at {address} ({why}); start one with `ray start --head`, or leave "
            "out `address` to raise one on this machine"
        )
    return f"Ray does not start: {text}"


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise ImportError(
            "executor ray needs Ray, which is not installed: pip install 'learning-rule-sandbox[ray]'"
        ) from None
