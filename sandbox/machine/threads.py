"""Divide work among threads; the result does not depend on their number."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_POOL: list[ThreadPoolExecutor] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.clear)  # a forked child has no threads of its parent


def share_out(work: Callable[[int, int], T], size: int, width: int = 1) -> list[T]:
    """Return the results of `work(first, last)` for the parts of `range(size)`, on as many threads as torch uses.

    Args:
        work: called once for each part, with its first index and the one after its last.
        size: length of the range.
        width: parts are multiples of this length, except the last one; 1 by default.

    >>> share_out(lambda first, last: (first, last), 10, 256)
    [(0, 10)]
    """
    blocks = -(-size // width)
    parts = min(torch.get_num_threads(), blocks)
    if parts <= 1:
        return [work(0, size)]
    cuts = [blocks * part // parts * width for part in range(parts)] + [size]
    if not _POOL:
        _POOL.append(ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="share"))
    waiting = [_POOL[0].submit(work, first, last) for first, last in zip(cuts[1:-1], cuts[2:], strict=True)]
    try:
        done = [work(cuts[0], cuts[1])]
    finally:
        later = [each.result() for each in waiting]
    return done + later
