"""A warning where torch computes with more threads than cores are free, which costs a multiple of the time.

torch's threads wait for each other after every operation. One that finds no core keeps all others waiting.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import torch

WINDOW = 1.0  # [s] over which the use of cores is measured
MARGIN = 0.5  # of a core: what other programs may use on a machine that counts as quiet
STAT, QUOTA = Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.max")


class Use(NamedTuple):
    """The time that cores have been busy until now, for anyone and for this process [s]."""

    clock: float
    all: float
    own: float


class Crowding:
    """Watches, from the first call on, how many cores other programs leave free; warns at most once.

    Where the system does not tell the use of its cores, only their number counts.
    """

    begun: Use | None = None
    done = False

    def begin_anew(self) -> None:
        """Forget what was seen, as in a new process."""
        self.begun, self.done = None, False

    def watch(self) -> None:
        """Look whether it is time to judge; called once a step.

        Warns: for more threads than free cores.
        """
        if self.done:
            return
        threads = torch.get_num_threads()
        if self.begun is None:
            self.begun = use()
            self.done = threads == 1
            free = float(cores())
        elif time.monotonic() - self.begun.clock < WINDOW:
            return
        else:
            free, self.done = left(self.begun, use(), cores()), True
        if threads > max(free, 1) + MARGIN:
            self.done = True
            warnings.warn(told(threads, cores(), free), stacklevel=3)


def told(threads: int, count: int, free: float) -> str:
    """Return the warning.

    >>> told(4, 4, 1.2)[:77]
    'torch computes with 4 threads, and of the 4 cores other programs leave 1.2 fr'
    """
    found = (
        f"this process may use {count} core{'s' if count > 1 else ''}"
        if free == count
        else f"of the {count} cores other programs leave {max(free, 0):.1f} free"
    )
    best = max(1, math.floor(free + MARGIN))
    return (
        f"torch computes with {threads} threads, and {found}: threads wait for each other at every operation, which "
        f"can take ten times as long; torch.set_num_threads({best}), or start Python with OMP_NUM_THREADS={best}, or "
        f"sandbox run with --threads {best}"
    )


def left(before: Use, after: Use, count: int) -> float:
    """Return how many of `count` cores other programs have left free between two moments.

    >>> left(Use(0.0, 10.0, 1.0), Use(2.0, 14.0, 3.0), 2)  # 4 s busy of which 2 are ours: the others use one core
    1.0
    """
    others = (after.all - before.all) - (after.own - before.own)
    return count - max(0.0, others) / (after.clock - before.clock)


def use() -> Use:
    """Return the use of the cores on which this process may run."""
    return Use(time.monotonic(), busy(allowed()), time.process_time())


def busy(places: set[int]) -> float:
    """Return how long these cores have been busy [s]; 0 where the system does not tell."""
    try:
        lines = [line.split() for line in STAT.read_text().splitlines() if line.startswith("cpu")]
    except OSError:
        return 0.0
    total = 0
    for name, *ticks in lines:
        if name[3:].isdigit() and int(name[3:]) in places:
            user, nice, system, _, _, interrupt, soft, steal = map(int, ticks[:8])
            total += user + nice + system + interrupt + soft + steal
    return total / os.sysconf("SC_CLK_TCK")


def allowed() -> set[int]:
    """Return the numbers of the cores on which this process may run."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    """Return how many cores this process may use: those it may run on, and no more than a container may use."""
    try:
        quota, period = QUOTA.read_text().split()
        most = math.inf if quota == "max" else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        most = math.inf
    return int(min(len(allowed()), most))


CROWDING = Crowding()  # of this process
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CROWDING.begin_anew)
