"""Up to which density events are quicker than the dense product: measured once for a machine and a shape, and kept.

The time by events is `a + b density`. Its two numbers and the time of the dense product are measured on made-up spikes,
and the crossover is where they meet. It is kept in memory and in a small file, `synapses.json` in the folder named
SANDBOX_SYNAPSES_CACHE or in the user's cache folder. A file that cannot be read, or comes from another machine or other
versions, counts as absent; one that cannot be written is done without.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sandbox.machine import compiled as compiled_loops
from sandbox.machine import files
from sandbox.machine.compiled import absent
from sandbox.synapses.choice import mode
from sandbox.synapses.events import active, rows

ROWS = 1024  # measured at most; beyond them both times grow in proportion
DENSITY = 0.1  # of the spikes that are measured, beside none
ROUNDS = 7

_LOCK = threading.Lock()
_KNOWN: dict[str, float] = {}
_READ: list[Path] = []  # the file that has been read, once it has


def crossover(samples: int, inner: int, out: int, dtype: torch.dtype) -> float:
    """The density below which a product of `[samples, inner]` and `[inner, out]` is quicker by events.

    Measured on the first call for a shape, of which `samples` count by powers of two up to `ROWS`; 0 where events never
    win.
    """
    samples = min(ROWS, 1 << (samples.bit_length() - 1))
    key = f"{samples} x {inner} x {out}, {str(dtype).removeprefix('torch.')}, threads {torch.get_num_threads()}"
    if key not in _KNOWN or file() not in _READ:
        with _LOCK:
            if file() not in _READ:
                _READ[:] = [file()]
                _KNOWN.clear()
                _KNOWN.update(read(file()))
            if key not in _KNOWN:
                _KNOWN[key] = measure(samples, inner, out, dtype)
                write(file(), _KNOWN)
    return _KNOWN[key]


def forget() -> None:
    """Let the next call read the file again; the file stays. Only tests have a use for it."""
    with _LOCK:
        _READ.clear()
        _KNOWN.clear()


def measure(samples: int, inner: int, out: int, dtype: torch.dtype) -> float:
    """The crossover, from the shortest times of calls made in turn: a busy machine only ever adds."""
    with torch.no_grad():
        weight = torch.ones(out, inner, dtype=dtype)
        spikes = torch.rand(samples, inner, generator=torch.Generator().manual_seed(0), dtype=dtype)
        silent, busy = torch.zeros_like(spikes), (spikes < DENSITY).to(dtype)

        def by_events(x: Tensor) -> Callable[[], Tensor]:
            return lambda: rows(active(x), weight.t())

        none, some, whole = in_turn([by_events(silent), by_events(busy), lambda: F.linear(busy, weight)])
    slope = max(some - none, 1e-12) / DENSITY
    return round(min(max((whole - none) / slope, 0.0), 1.0), 3)


def in_turn(calls: list[Callable[[], Any]]) -> list[float]:
    """The shortest time [s] of each call."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(ROUNDS + 1):  # the first round compiles
        for call, column in zip(calls, times, strict=True):
            begun = time.perf_counter()
            call()
            if number:
                column.append(time.perf_counter() - begun)
    return [min(column) for column in times]


def state() -> str:
    """A line about synapses for `sandbox doctor`."""
    if absent():
        return f"dense: {absent()}"
    return f"{compiled_loops.state(mode())}, {len(read(file()))} crossovers in {file()}"


def file() -> Path:
    """Where crossovers are kept."""
    return compiled_loops.cache_folder(os.environ.get("SANDBOX_SYNAPSES_CACHE")) / "synapses.json"


@lru_cache(maxsize=1)
def machine() -> str:
    """What a crossover depends on beside the shape."""
    return f"{platform.machine()} {processor()}, torch {torch.__version__}, numba {version('numba')}"


def processor() -> str:
    """Its name and how many there are, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} x {os.cpu_count()}"


def read(path: Path) -> dict[str, float]:
    """What the file says that makes sense on this machine."""
    try:
        content = json.loads(path.read_text())
        found = content["crossovers"] if content["machine"] == machine() else {}
        return {str(key): float(density) for key, density in found.items() if 0 <= density <= 1}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or no longer what was written
        return {}


def write(path: Path, crossovers: dict[str, float]) -> None:
    """Add to the file, which is there whole or not at all."""
    content = {"crossovers": {**read(path), **crossovers}, "machine": machine()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    except OSError:  # a place that is read-only or full
        pass
