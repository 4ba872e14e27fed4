"""What the queue of SLURM says about our jobs, by their tickets: `NAME.INDEX`, with the name and index of an array."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from typing import NamedTuple

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
STUCK = {  # reasons for which a job waits for ever
    *("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount"),
    *("InvalidQOS", "AccountNotAllowed", "QOSNotAllowed", "JobHoldMaxRequeue", "launch failed requeued held"),
}


class Silent(ValueError):
    """The controller of SLURM does not answer."""


class Queued(NamedTuple):
    """A job that has not ended."""

    job: str  # its number, as `scancel` takes it
    waits: bool
    stuck: str  # why it never starts; empty if it may


def require_commands() -> None:
    """Raise ValueError if this machine does not submit to SLURM."""
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise ValueError(
                f"{command} is not on PATH: run this on a machine that submits to SLURM (a login node), or choose "
                "another executor, such as --executor local"
            )


def queue(tickets: Iterable[str]) -> dict[str, Queued]:
    """Return those of the tickets whose jobs have not ended; raise Silent if SLURM does not say.

    The queue itself is asked, not the accounting (`sacct`), which many clusters do without.
    """
    wanted = set(tickets)
    if not wanted:
        return {}
    names = ",".join(sorted({ticket.rpartition(".")[0] for ticket in wanted}))
    said = _said("squeue", "--noheader", "--array", "--format=%j|%F|%K|%T|%r", f"--name={names}")
    found = {}
    for line in said.splitlines():
        name, number, index, state, reason = line.strip().split("|")
        alone = not index.isdigit()  # one job is not an array
        ticket = f"{name}.{0 if alone else index}"
        if ticket in wanted:
            stuck = reason.replace("_", " ") if reason in STUCK or reason.replace("_", " ") in STUCK else ""
            found[ticket] = Queued(number if alone else f"{number}_{index}", state == "PENDING", stuck)
    return found


def empty(tickets: Iterable[str], patience: float) -> bool:
    """End the jobs of these tickets, and return whether they have ended after `patience` seconds at most.

    Running ones are killed at once, because their folders are safe at any moment.
    """
    wanted, end = set(tickets), time.monotonic() + patience
    while queued := queue(wanted):
        if time.monotonic() > end:
            return False
        jobs = [one.job for one in queued.values()]
        subprocess.run(["scancel", "--quiet", "--signal=KILL", *jobs], capture_output=True)
        subprocess.run(["scancel", "--quiet", *jobs], capture_output=True)
        time.sleep(0.5)
    return True


def largest_array() -> int:
    """Return how many jobs the cluster takes in one array."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _said("scontrol", "show", "config"), re.MULTILINE)
    return max(1, int(found[1]) - 1) if found else 1000  # 1,001 is SLURM's default


def _said(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise Silent(f"`{command[0]}` does not answer") from None
    if answer.returncode:
        raise Silent(f"`{command[0]}` failed: {answer.stderr.strip()}; is the controller of SLURM running?")
    return answer.stdout
