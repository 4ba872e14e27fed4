"""How long a hundred thousand runs take to list and to filter: `python benchmarks/listing.py [RUNS]`.

Makes the folders of so many finished runs in a temporary place, indexes them, and prints seconds.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.cli import main
from sandbox.runs import index
from tests.sandbox.runs.places import many


def seconds(act: Callable[[], Any]) -> float:
    """Return the time of the fastest of three calls [s]."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        act()
        times.append(time.perf_counter() - begun)
    return min(times)


def listed(*words: str) -> int:
    """Carry out a command and return the number of lines that it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main(words)
    return printed.getvalue().count("\n")


def measure(number: int) -> None:
    """Print the times for so many runs."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        many(root, number)
        begun = time.perf_counter()
        index.rebuild(root)
        print(f"{number} runs: index --rebuild {time.perf_counter() - begun:.1f} s")
        print(f"  rows                             {seconds(lambda: index.rows(root)):.2f} s")
        print(f"  rows of one rule                 {seconds(lambda: index.rows(root, rule='bptt')):.2f} s")
        for words in (["--rule", "bptt"], ["--status", "stopped"], []):
            taken = seconds(lambda words=words: listed("list", "runs", *words, "--out", place))
            print(f"  {'list runs ' + ' '.join(words):<32} {taken:.2f} s")


if __name__ == "__main__":
    measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
