"""CPU time of a run in a worker before its first training step: what a comparison of short runs pays for each worker.

python benchmarks/worker.py            # a minute; writes its section of README.md
python benchmarks/worker.py CHECKOUT   # beside an earlier revision of this project in another folder, in turn
"""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from readme import machine, put, table
from start import BESIDE, environment, shown
from timing import in_turn

if TYPE_CHECKING:
    from sandbox.runs.job import Job

HERE = Path(__file__).parent
ROUNDS = 3
ROWS = {
    "first run of a worker, `bptt` on Yin-Yang": ("yinyang", "bptt", "1"),
    "its second run, with another seed": ("yinyang", "bptt", "2"),
}
TARGET = "<= 0.30 s"
WORDS = """\
From the start of a job to its first training step: the folder, data, network, calibration, kernels from the disk, and
the first evaluation on validation samples. The worker is forked from a process that has imported what a comparison
preloads; kernels were compiled before. CPU times, medians of three processes.
A first run draws the 7,000 samples of Yin-Yang, in 0.1 to 0.2 s, which later runs of the worker find in memory.
{beside}"""


def inside(task: str, rule: str, number: str) -> float:
    """Return the CPU time of a forked worker from the start of its job with this number to the first step [s]."""
    from sandbox.config.experiment import Experiment, NetworkConfig, RuleConfig
    from sandbox.config.registry import Choice
    from sandbox.runs.job import Job, imports

    experiment = Experiment(Choice(task), network=NetworkConfig(rate=0.2), rule=RuleConfig(rule), epochs=1)
    for name in imports(experiment):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        plans = [replace(experiment, seed=seed) for seed in range(int(number))]
        return forked([Job(each, Path(folder) / each.identity) for each in plans])


def forked(jobs: Sequence[Job]) -> float:
    """Begin jobs in a child process; return the CPU time of the last one until its first step [s]."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=lambda: theirs.send([until_a_step(job) for job in jobs][-1]))
    child.start()
    theirs.close()
    found: float = ours.recv()
    child.join()
    return found


def until_a_step(job: Job) -> float:
    """Return the CPU time of a job until its first step [s]."""
    from rules.trainer import Trainer

    class Begun(BaseException):
        pass

    def step(*_: object) -> None:
        raise Begun

    Trainer.step = step  # type: ignore[assignment,method-assign]
    begun = time.process_time()
    try:
        job.work(lambda done, total: None)
    except Begun:
        return time.process_time() - begun
    raise RuntimeError("the run ended without a step")


def measured(place: str, *row: str) -> float:
    """Return what a fresh process of a checkout prints of itself."""
    said = [sys.executable, "-W", "ignore", __file__, "inside", *row]
    done = subprocess.run(said, env=environment(place), capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main(earlier: str | None) -> None:
    places = [str(HERE.parent), *([] if earlier is None else [str(Path(earlier).resolve())])]
    rows = []
    for name, row in ROWS.items():
        found = in_turn([lambda place=place, row=row: measured(place, *row) for place in places], ROUNDS)
        now, *before = (statistics.median(column) for column in zip(*found, strict=True))
        ratio = [f"{statistics.median(one[0] / one[1] for one in found):.2f}"] if before else []
        rows.append((name, *map(shown, before), shown(now), *ratio, TARGET))
    head = (
        "CPU before the first step",
        *(["before"] if earlier else []),
        "now",
        *(["ratio"] if earlier else []),
        "target",
    )
    beside = ""
    if earlier is not None:
        asked = subprocess.run(["git", "-C", earlier, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        beside = BESIDE.format(revision=f"`{asked.stdout.strip()}`")
    body = table(head, rows)
    put("A worker before its first step", f"{WORDS.format(beside=beside)}\n{body}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        print(inside(*sys.argv[2:5]))
    else:
        main(sys.argv[1] if sys.argv[1:] else None)
