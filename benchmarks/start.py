"""What users wait for beside learning: imports, workers, reports; and small steps, where overhead counts.

python benchmarks/start.py            # three minutes; writes its section of README.md
python benchmarks/start.py CHECKOUT   # beside an earlier revision of this project in another folder, in turn
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from readme import machine, put, table
from timing import in_turn

HERE = Path(__file__).parent
ROUNDS = 3
SHORT = ["--experiment.task.name", "digits", "--rules", "[readout_only]", "--experiment.epochs", "3", "--seeds", "8"]
DEMO = ["--task.options", "{train: 2000, validation: 500, test: 1000}", "--encoder.options", "{steps: 6}"]
LEARNING = [*DEMO, "--epochs", "3", "--rule.name"]


def cpu_of(*words: str) -> Callable[[str], float]:
    """Return the measurement of a command of the sandbox: its CPU time [s], its children included."""

    def measure(place: str) -> float:
        before = os.times()
        with tempfile.TemporaryDirectory() as out:
            where = [] if words[0] in ("--help", "list") else ["--out", out]
            said = [sys.executable, "-m", "sandbox", *words, *where]
            subprocess.run(said, env=environment(place), cwd=place, capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return measure


def compared(place: str) -> float:
    """Return the wall time of a comparison of eight short runs in two processes [s], report included."""
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        said = [sys.executable, "-m", "sandbox", "compare", *SHORT, "--jobs", "2", "--out", out]
        subprocess.run(said, env=environment(place), cwd=place, capture_output=True, check=True)
        return time.perf_counter() - begun


def inside(name: str) -> Callable[[str], float]:
    """Return the measurement that a fresh process makes of itself and prints."""

    def measure(place: str) -> float:
        said = [sys.executable, "-W", "ignore", __file__, "inside", name]
        done = subprocess.run(said, env=environment(place), capture_output=True, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    return measure


def environment(place: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": place, "OMP_NUM_THREADS": "1"}


def to_the_first_step() -> float:
    """Return the CPU time of `sandbox run` when its first training step begins [s]."""
    from rules.trainer import Trainer

    class Begun(BaseException):
        pass

    def step(*_: object) -> None:
        raise Begun

    Trainer.step = step  # type: ignore[assignment,method-assign]
    with contextlib.suppress(Begun):
        quietly("run")
    return time.process_time()


def learning(rule: str) -> float:
    """Return the CPU time of a run in a process that has made one before [s]."""
    quietly("run", *LEARNING, rule)
    begun = time.process_time()
    quietly("run", *LEARNING, rule, "--seed", "1")
    return time.process_time() - begun


def quietly(*words: str) -> None:
    from sandbox.cli import main

    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(io.StringIO()):
        main([*words, "--out", out])


def reported() -> float:
    """Return the CPU time of a second report of a comparison, when all is imported [s]."""
    from sandbox.report import write_report

    with tempfile.TemporaryDirectory() as out:
        said = [sys.executable, "-m", "sandbox", "compare", *SHORT, "--out", out]
        subprocess.run(said, cwd=os.environ["PYTHONPATH"], capture_output=True, check=True)
        folder = next(each for each in Path(out).iterdir() if each.is_dir())
        write_report(folder)
        begun = time.process_time()
        write_report(folder)
        return time.process_time() - begun


def stepped() -> float:
    """Return the CPU time of a step of BPTT on 4-30-3 with 6 steps and 50 samples [s], the median of nine batches."""
    import torch

    import rules
    from sandbox import LIF, LeakyIntegrator, build

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(50, 4, generator=rng).expand(6, 50, 4)
    y = torch.randint(3, (50,), generator=rng)
    trainer = rules.Trainer(build((4,), 3, (30,), LIF(tau_mem=10.0), LeakyIntegrator(tau_mem=10.0)), "bptt")
    found = []
    for _ in range(12):
        begun = time.process_time()
        for _ in range(50):
            trainer.step((x, y))
        found.append((time.process_time() - begun) / 50)
    return statistics.median(found[3:])


INSIDE: dict[str, Callable[[], float]] = {
    "first": to_the_first_step,
    "tcl": lambda: learning("tcl"),
    "bptt": lambda: learning("bptt"),
    "report": reported,
    "step": stepped,
}
ROWS: dict[str, tuple[Callable[[str], float], str]] = {
    "`sandbox --help`, CPU": (cpu_of("--help"), ""),
    "`sandbox list rules`, CPU": (cpu_of("list", "rules"), ""),
    "`sandbox run` on Yin-Yang, CPU before the first step": (inside("first"), "<= 2.5 s"),
    "`sandbox run --epochs 1` on Yin-Yang, CPU": (cpu_of("run", "--epochs", "1"), ""),
    "`sandbox compare`, 8 seeds of `readout_only` on digits, 3 epochs, two processes, wall": (
        compared,
        "<= 0.45 of before",
    ),
    "a report of it, when all is imported, CPU": (inside("report"), ""),
    "a run of `tcl` on Yin-Yang, 3 epochs of 2000 samples, CPU": (inside("tcl"), "<= 0.5 of before"),
    "the same of `bptt`, CPU": (inside("bptt"), ""),
    "a step of `bptt`, 4-30-3, T = 6, B = 50, CPU": (inside("step"), "<= 2 ms"),
}
WORDS = """\
One thread in every process; times are medians of three fresh processes. CPU times include children that have ended.
Why targets are missed: what is left of a step of `tcl` is mostly the contrast of all pairs, by which the rule is
defined (`pairs="cross"` is the cheaper choice); a comparison of short runs is mostly two starts of Python and torch.
{beside}"""
BESIDE = """\
Revision {revision} is measured in turn with this one, on the same machine, and ratios are medians over neighbouring
measurements.
"""


def shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.05 else f"{seconds * 1e3:.2f} ms"


def main(earlier: str | None) -> None:
    places = [str(HERE.parent), *([] if earlier is None else [str(Path(earlier).resolve())])]
    rows = []
    for name, (measure, target) in ROWS.items():
        found = in_turn([lambda place=place, measure=measure: measure(place) for place in places], ROUNDS)
        now, *before = (statistics.median(column) for column in zip(*found, strict=True))
        ratio = [f"{statistics.median(row[0] / row[1] for row in found):.2f}"] if before else []
        rows.append((name, *map(shown, before), shown(now), *ratio, target))
        print(rows[-1], flush=True)
    head = ("what", *(["before"] if earlier else []), "now", *(["ratio"] if earlier else []), "target")
    revision = ""
    if earlier is not None:
        asked = subprocess.run(["git", "-C", earlier, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        revision = BESIDE.format(revision=f"`{asked.stdout.strip()}`")
    body = table(head, rows)
    put("Start, workers and small steps", f"{WORDS.format(beside=revision)}\n{body}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        print(INSIDE[sys.argv[2]]())
    else:
        main(sys.argv[1] if sys.argv[1:] else None)
