"""What executors cost: `OMP_NUM_THREADS=1 python benchmarks/executors.py`.

Prints how many jobs a second are claimed, the CPU time of a run's start in a warm worker, and the CPU time that an
executor adds to a minute of a job: that of all its processes while a job sleeps, which itself takes none.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.executors import make
from sandbox.executors.base import run_all
from sandbox.executors.claims import DONE, claim
from sandbox.runs.run import run
from tests.sandbox.executors.toys import Steps

LONG, SHORT = 20.0, 2.0  # [s] of a job
ROUNDS = 3
PAUSE = 0.1  # [s] between two steps of a job


def places() -> Iterator[Path]:
    """Yield empty folders."""
    with tempfile.TemporaryDirectory() as root:
        number = 0
        while True:
            number += 1
            place = Path(root) / str(number)
            place.mkdir()
            yield place


def cpu() -> float:
    """Return the CPU time of this process, its children and those of theirs that have ended [s]; workers have a server.

    From /proc/PID/stat (proc(5)): the parent is the fourth field, the times are the fourteenth to the seventeenth.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if os.getpid() in (int(path.parent.name), int(fields[1])):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def spent(executor: str, seconds: float, place: Path) -> float:
    """Return the CPU time of all processes for one job that sleeps so long [s]."""
    before = cpu()
    run_all([Steps(place / "job", round(seconds / PAUSE), PAUSE)], make(executor, 1), lambda done, total: None, place)
    return cpu() - before


def added(executor: str, free: Iterator[Path]) -> float:
    """Return the share of a minute that an executor adds to a job, the median of several rounds [%]."""
    rates = []
    for _ in range(ROUNDS):
        long, short = spent(executor, LONG, next(free)), spent(executor, SHORT, next(free))
        rates.append(100 * (long - short) / (LONG - SHORT))
    return statistics.median(rates)


class Began:
    """Notes the CPU time at which each step has ended."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def __call__(self, done: int, total: int) -> None:
        """Note one."""
        self.at.append(time.process_time())


def starts(place: Path) -> float:
    """Return the CPU time of the start of a run in a process that has run others, the median [s]."""
    tiny = Experiment(
        task=Choice("yinyang", {"train": 50, "validation": 10, "test": 10}),
        encoder=Choice("constant", {"steps": 2}),
        network=NetworkConfig(hidden=[5]),
        epochs=1,
    )
    times = []
    for seed in range(8):
        began = Began()
        before = time.process_time()
        run(replace(tiny, seed=seed), place / str(seed), progress=began)
        times.append(began.at[0] - before)
    return statistics.median(times[2:])


def main() -> None:
    free = places()
    place, begun = next(free), time.perf_counter()
    for number in range(500):
        held = claim(place / str(number), None)
        assert held is not None
        held.end(DONE)
    print(f"claims: {500 / (time.perf_counter() - begun):.0f} jobs a second")
    print(f"start of a run in a warm process: {1000 * starts(next(free)):.0f} ms of CPU")
    for executor in ("local", "shared"):
        print(f"{executor}: adds {added(executor, free):.2f} % of CPU to a job")


if __name__ == "__main__":
    main()
