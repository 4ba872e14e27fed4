"""Measure the crossover: the density below which events are faster than the dense product on this machine.

The time by events is `a + b density`. The two coefficients and the time of the dense product are measured on random
spikes; the crossover is where the times are equal. It is kept in memory and in a file, `synapses.json`, in the folder
SANDBOX_SYNAPSES_CACHE or in the user's cache folder. A file that cannot be read, or that comes from another machine or
other versions, is ignored. If the file cannot be written, crossovers are kept in memory only.
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
from sandbox.synapses.events import active, heard, rows

ROWS = 1024  # measured at most; above, both times grow in proportion
DENSITY = 0.1  # of the measured spikes; the other measurement has none
ROUNDS = 7

_LOCK = threading.Lock()
_KNOWN: dict[str, float] = {}
_READ: list[Path] = []  # the file that has been read, once it has


def crossover(samples: int, inner: int, out: int, dtype: torch.dtype, loop: bool = False) -> float:
    """Return the density below which a product of `[samples, inner]` and `[inner, out]` is faster by events.

    In a loop, as of a recurrent layer, the weight is transposed before the first step.

    It is measured on the first call for a shape, with `samples` rounded down to a power of two, at most `ROWS`. It is 0
    if events are never faster.
    """
    samples = min(ROWS, 1 << (samples.bit_length() - 1))
    key = f"{samples} x {inner} x {out}, {str(dtype).removeprefix('torch.')}, threads {torch.get_num_threads()}"
    key += ", in a loop" if loop else ""
    if key not in _KNOWN or file() not in _READ:
        with _LOCK:
            if file() not in _READ:
                _READ[:] = [file()]
                _KNOWN.clear()
                _KNOWN.update(read(file()))
            if key not in _KNOWN:
                _KNOWN[key] = measure(samples, inner, out, dtype, loop)
                write(file(), _KNOWN)
    return _KNOWN[key]


def forget() -> None:
    """Forget the crossovers in memory, so that the next call reads the file again; only tests have a use for it."""
    with _LOCK:
        _READ.clear()
        _KNOWN.clear()


def measure(samples: int, inner: int, out: int, dtype: torch.dtype, loop: bool = False) -> float:
    """Measure a crossover from the shortest times of alternating calls: load on the machine only adds time."""
    with torch.no_grad():
        weight = torch.ones(out, inner, dtype=dtype)
        spikes = torch.rand(samples, inner, generator=torch.Generator().manual_seed(0), dtype=dtype)
        silent, busy = torch.zeros_like(spikes), (spikes < DENSITY).to(dtype)

        source = weight.t().contiguous()
        current, total = torch.zeros(2, samples, out, dtype=dtype)

        def by_events(x: Tensor) -> Callable[[], Any]:
            return lambda: heard(x, source, None, current, total) if loop else rows(active(x), weight.t())

        def product() -> Tensor:
            return torch.mm(busy, weight.t(), out=total).add_(current) if loop else F.linear(busy, weight)

        none, some, whole = in_turn([by_events(silent), by_events(busy), product])
    slope = max(some - none, 1e-12) / DENSITY
    return round(min(max((whole - none) / slope, 0.0), 1.0), 3)


def in_turn(calls: list[Callable[[], Any]]) -> list[float]:
    """Return the shortest time [s] of each call."""
    times: list[list[float]] = [[] for _ in calls]
    for number in range(ROUNDS + 1):  # the first round compiles
        for call, column in zip(calls, times, strict=True):
            begun = time.perf_counter()
            call()
            if number:
                column.append(time.perf_counter() - begun)
    return [min(column) for column in times]


def state() -> str:
    """Return a line about synapses for `sandbox doctor`."""
    if absent():
        return f"dense: {absent()}"
    return f"{compiled_loops.state(str(mode()))}, {len(read(file()))} crossovers in {file()}"


def file() -> Path:
    """Return the path of the file with crossovers."""
    return compiled_loops.cache_folder(os.environ.get("SANDBOX_SYNAPSES_CACHE")) / "synapses.json"


@lru_cache(maxsize=1)
def machine() -> str:
    """Describe everything beside the shape that a crossover depends on."""
    return f"{platform.machine()} {processor()}, torch {torch.__version__}, numba {version('numba')}"


def processor() -> str:
    """Return the name and the number of processors, as reported by the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} x {os.cpu_count()}"


def read(path: Path) -> dict[str, float]:
    """Read the valid crossovers of this machine from the file."""
    try:
        content = json.loads(path.read_text())
        found = content["crossovers"] if content["machine"] == machine() else {}
        return {str(key): float(density) for key, density in found.items() if 0 <= density <= 1}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent or damaged
        return {}


def write(path: Path, crossovers: dict[str, float]) -> None:
    """Add crossovers to the file, which is replaced atomically."""
    content = {"crossovers": {**read(path), **crossovers}, "machine": machine()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    except OSError:  # a folder that is read-only or full
        pass
