"""Timing of alternating calls, so that a slow minute of the machine affects all sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def in_turn(calls: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """Collect the times [s] that each call reports, `[rounds][calls]`; each goes first as often as last."""
    rows = []
    for number in range(rounds):
        order = range(len(calls)) if number % 2 else reversed(range(len(calls)))
        row = {index: calls[index]() for index in order}
        rows.append([row[index] for index in range(len(calls))])
    return rows


def stopwatch(call: Callable[[], object], each: int = 1) -> Callable[[], float]:
    """Wrap a call so that it returns its time [s], as the mean over `each` repetitions."""

    def timed() -> float:
        begun = time.perf_counter()
        for _ in range(each):
            call()
        return (time.perf_counter() - begun) / each

    return timed


def spent(call: Callable[[], object]) -> Callable[[], float]:
    """Wrap a call so that it returns the CPU time [s] of this thread, which other jobs of the machine disturb less."""

    def timed() -> float:
        begun = time.thread_time()
        call()
        return time.thread_time() - begun

    return timed


def paired(a: Callable[[], object], b: Callable[[], object], rounds: int, each: int = 1) -> tuple[float, float, float]:
    """Alternate two calls; return both medians [s], and the median ratio b / a of neighbouring calls."""
    times = in_turn([stopwatch(a, each), stopwatch(b, each)], rounds)
    ratio = statistics.median(y / x for x, y in times)
    return statistics.median(x for x, _ in times), statistics.median(y for _, y in times), ratio


def summary(found: Sequence[Sequence[float]]) -> tuple[float, float, str]:
    """Summarise processes that each report (a, b, b / a): the medians, and the ratio with its range as text."""
    a, b, ratio = (statistics.median(column) for column in zip(*found, strict=True))
    ratios = [row[2] for row in found]
    return a, b, f"{ratio:.3f} ({min(ratios):.2f} to {max(ratios):.2f})"
