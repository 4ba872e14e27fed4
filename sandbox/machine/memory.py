"""Keep freed memory for the next step: returning large arrays to the system costs more than their arithmetic.

There are two ways. `keep_freed_memory` is for our own worker processes and changes their allocator as a whole; `empty`
is for the arrays of compiled loops in a user's process. Forward and backward of a LIF kernel, one thread:

    [T, B, cells]       as Python starts: `new_empty`, `empty`    after `keep_freed_memory`: `new_empty`, `empty`
    [100, 128, 256]                          9.8 ms    6.3 ms                                   5.6 ms    5.7 ms
    [1000, 32, 128]                         18.4 ms    6.6 ms                                   6.5 ms    6.7 ms

So `empty` makes a step 1.8 and 2.8 times as fast in an ordinary process, and gains nothing where freed memory is kept.

Measured on an AMD EPYC under glibc by `python benchmarks/freed_memory.py`.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST = 2**31 - 1  # bytes
LARGE = 2**22  # bytes from which `empty` keeps an array, and from which NumPy requests huge pages
KEPT = 2**28  # bytes that it keeps, in total
LINE = 64  # bytes of a cache line; its arrays are aligned to that

EXHAUSTED = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "Storage size calculation",
)

_FREE: list[Any] = []  # unused blocks, the most recently released one last
# Reentrant, because the garbage collector may release a block on this thread while another one is being taken.
_LOCK = threading.RLock()


def is_exhausted(error: BaseException) -> bool:
    """Return whether memory did not suffice, in the words of Python, NumPy, torch or the C++ library.

    >>> is_exhausted(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    True
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in EXHAUSTED)


def available() -> int | None:
    """Return the bytes that a process can still get without swapping; None where the system does not say.

    Reference: proc(5), MemAvailable; cgroups(7) for the limit of a container.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    with suppress(OSError, ValueError):  # "max" where a container has no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free


def keep_freed_memory() -> bool:
    """Make the C library keep freed memory for the rest of this process; return whether it supports that.

    glibc returns arrays above 32 MiB to the system at once, and requests them again, page by page, in the next step of
    training. Kept memory costs no time; the process then stays as large as its largest step.

    Reference: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, LARGEST))


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return `like.new_empty(shape)`, in memory released by an earlier array of the same size, if there is one.

    Touching a new page for the first time takes longer than what a fused loop writes there.

    >>> empty((2, 3), torch.ones(1)).shape
    torch.Size([2, 3])
    """
    size = math.prod(shape) * like.element_size()
    if size < LARGE or like.device.type != "cpu":
        return like.new_empty(shape)
    block = _taken(size + LINE)  # room to align: numpy.empty guarantees multiples of 16 bytes only
    begin = -block.ctypes.data % LINE
    array = block[begin : begin + size].view(np.dtype(str(like.dtype).removeprefix("torch.")))
    # The finalizer watches the array, which lives until the last tensor on its storage is gone; the block itself lives
    # on in `_FREE`. Watching the returned tensor instead would release memory that its views still use.
    weakref.finalize(array, _given_back, block).atexit = False
    return torch.from_numpy(array).view(shape)


def _taken(size: int) -> Any:
    with _LOCK:
        for place in range(len(_FREE) - 1, -1, -1):  # the last one first: it is most likely still in the cache
            if len(_FREE[place]) == size:
                return _FREE.pop(place)
    return np.empty(size, np.uint8)


def _given_back(block: Any) -> None:
    with _LOCK:
        _FREE.append(block)
        while sum(map(len, _FREE)) > KEPT:
            _FREE.pop(0)  # the one that has been unused for longest
