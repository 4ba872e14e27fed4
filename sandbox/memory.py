"""Freed memory kept for the next step: large arrays that go back to the system cost more than their arithmetic."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST = 2**31 - 1  # bytes


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed, for the rest of this process; returns whether it understood.

    glibc hands arrays above 32 MiB back to the system at once, and fetches them again, page by page, in the next step
    of training. Kept, they cost nothing; the process then stays as large as its largest step.

    Reference: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, LARGEST))
