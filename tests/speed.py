"""Limits of time in tests: they were set on one machine, and others, or busy ones, are slower."""

from __future__ import annotations

import statistics
import time

STEPS = 1_000_000
THERE = 0.045  # [s] for so many steps of the loop, on a quiet core of the machine where the limits were set


def within(seconds: float, limit: float) -> bool:
    """Tell whether something took no longer than it would have there; this machine is timed only where it matters."""
    return seconds <= limit or seconds <= limit * slowness()


def slowness() -> float:
    """How many times longer than there a fixed loop takes at present, at least 1: the median of five."""
    return max(1.0, statistics.median(loop() for _ in range(5)) / THERE)


def loop() -> float:
    """The seconds on the wall of a fixed loop; others on the same core make it longer."""
    begun, total = time.perf_counter(), 0
    for step in range(STEPS):
        total += step
    assert total == STEPS * (STEPS - 1) // 2
    return time.perf_counter() - begun
