"""Memory of one call: growth of the resident peak, in a process of its own that gives back what is freed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# an allocator that returns what is freed, so that the resident peak is that of live memory
LEAN = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_MAX_": "1000000"}


def growth(call: Callable[[], object]) -> float:
    """What the call adds to the resident peak of this process [MiB]."""
    before = peak()
    call()
    return (peak() - before) / 1024


def peak() -> int:
    """The resident peak [KiB]; that of getrusage would begin with the size of the process that started this one."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("memory is measured on Linux alone: /proc/self/status has no VmHWM")
    return int(found[1])


def of_process(*words: str) -> float:
    """The number that a Python script prints, run with these words in a fresh process; it varies by 2 %."""
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, env=LEAN)
    return float(run.stdout)
