"""Blocks of cells shared out among threads; what is computed does not depend on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_POOL: list[ThreadPoolExecutor] = []
os.register_at_fork(after_in_child=_POOL.clear)  # a child has none of its parent's threads


def share_out(work: Callable[[int, int], None], cells: int, width: int) -> None:
    """Calls `work(first, last)` on whole blocks of `width` cells, on as many threads as torch uses.

    >>> share_out(lambda first, last: print(first, last), 10, 256)
    0 10
    """
    blocks = -(-cells // width)
    threads = min(torch.get_num_threads(), blocks)
    if threads <= 1:
        work(0, cells)
        return
    cuts = [blocks * i // threads * width for i in range(threads)] + [cells]
    if not _POOL:
        _POOL.append(ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernel"))
    waiting = [_POOL[0].submit(work, first, last) for first, last in zip(cuts[1:-1], cuts[2:], strict=True)]
    try:
        work(cuts[0], cuts[1])
    finally:
        for each in waiting:
            each.result()
