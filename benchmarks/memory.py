"""Memory of one call: growth of the resident peak in a separate process that returns freed memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

# an allocator that returns freed memory, so that the resident peak is that of live memory
LEAN = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_MAX_": "1000000"}


def growth(call: Callable[[], object]) -> float:
    """Measure what the call adds to the resident peak of this process [MiB]."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew, without that of compiling
    before = peak()
    call()
    return (peak() - before) / 1024


def peak() -> int:
    """Read the resident peak [KiB]; that of getrusage would start with the size of the parent process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("memory is measured on Linux alone: /proc/self/status has no VmHWM")
    return int(found[1])


def of_process(*words: str) -> float:
    """Return the number that a Python script prints in a fresh process with these arguments; it varies by 2 %."""
    run = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, env=LEAN)
    return float(run.stdout)
