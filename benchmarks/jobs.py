"""Speed-up by a second process: a comparison with two workers against the same with one.

python benchmarks/jobs.py         # about two minutes; writes its section of README.md
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from readme import machine, put, table
from timing import in_turn

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.experiment import Experiment
from sandbox.config.rule import RuleConfig

PLAN = Comparison(
    Experiment(epochs=3), [RuleConfig("bptt", {"lr": 0.04}), RuleConfig("readout_only", {"lr": 0.02})], seeds=8
)
ROUNDS = 3


def learning(jobs: int) -> float:
    """Measure the seconds from the start of the first run to the end of the last, by the times of their files.

    Work before and after, which runs in one process either way, is left out: loading data, checking that rules fit, and
    the linear classifier.
    """
    with tempfile.TemporaryDirectory() as folder:
        begun: list[float] = []

        def progress(done: int, total: int) -> None:
            if done and not begun:
                begun.append(time.time())

        compare(PLAN, Path(folder) / "c", jobs=jobs, progress=progress)
        ends = [path.stat().st_mtime for path in Path(folder).glob("c/*/result.json")]
        return max(ends) - begun[0]


WORDS = """\
Sixteen runs of Yin-Yang with three epochs each and one thread per process, timed from the first step of the first
run to the result of the last. Calls alternate between the sides; times are medians, ratios are medians over
neighbouring calls.
"""


def main() -> None:
    found = in_turn([lambda: learning(1), lambda: learning(2)], ROUNDS)
    one, two = (statistics.median(column) for column in zip(*found, strict=True))
    ratio = statistics.median(a / b for a, b in found)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    runs = 2 * PLAN.seeds
    row = (
        f"runs a minute, {cores} cores",
        f"{60 * runs / one:.1f}",
        f"{60 * runs / two:.1f}",
        f"{ratio:.2f}",
        ">= 1.80",
    )
    rows = table(("what", "`--jobs 1`", "`--jobs 2`", "ratio", "target"), [row])
    put("A comparison on two processes", f"{WORDS}\n{rows}\n\n{machine('torch', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
