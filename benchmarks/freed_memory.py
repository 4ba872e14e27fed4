"""What it is worth to keep freed memory: a training step of a LIF kernel, with `sandbox.machine.memory` and without.

python benchmarks/freed_memory.py          # under a minute; writes its section of README.md
python benchmarks/freed_memory.py 1        # with one process of each kind; only prints
python benchmarks/freed_memory.py step keep    # the times of one process
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

import torch
from readme import machine, put, table
from timing import paired
from torch import Tensor

from sandbox import scan
from sandbox.kernels import using
from sandbox.kernels.launch import buffers, ops
from sandbox.machine import memory
from sandbox.neurons import LIF

SHAPES = ((100, 128, 256), (1000, 32, 128))  # steps, samples, cells: arrays of 13 and 16 MB
MODES = {"leave": "as Python starts", "keep": "after `keep_freed_memory`"}
ROUNDS, EACH = 15, 5
PROCESSES = 3  # each has a layout of memory of its own

Empty = Callable[[Sequence[int], Tensor], Tensor]


def step(shape: tuple[int, ...], empty: Empty) -> Callable[[], Tensor]:
    """Forward and backward, with arrays from this function."""
    rng = torch.Generator().manual_seed(0)
    x = (3 * torch.rand(shape, generator=rng)).requires_grad_()
    error = torch.randn(shape, generator=rng)

    def one() -> Tensor:
        for module in (ops, buffers):
            module.empty = empty
        with using("numba"):
            return torch.autograd.grad(scan(LIF(), x)[0], x, error)[0]

    return one


def measured(mode: str) -> list[tuple[float, float, float]]:
    """For each shape `new_empty` [s], `empty` [s] and their ratio, in this process."""
    torch.set_num_threads(1)
    if mode == "keep" and not memory.keep_freed_memory():
        raise RuntimeError("the C library here is not glibc")
    rows = []
    for shape in SHAPES:
        fresh, reused = step(shape, lambda shape, like: like.new_empty(shape)), step(shape, memory.empty)
        fresh()
        reused()
        rows.append(paired(reused, fresh, ROUNDS, EACH))
    return rows


WORDS = """\
Forward and backward of a LIF kernel, float32, one thread: with arrays of `sandbox.machine.memory.empty`, which reuses
what an array left behind, and with those of `torch.Tensor.new_empty`; in processes that leave glibc as it is, and in
some that ask it to keep what is freed. Medians of calls made in turn, and of the ratios of neighbours; medians of
{processes} processes, and the range of the ratio.
"""


def main(processes: int, publish: Callable[[str, str], None]) -> None:
    rows = []
    for mode, words in MODES.items():
        command = [sys.executable, __file__, "step", mode]
        found = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(processes)]
        for shape, times in zip(SHAPES, zip(*found, strict=True), strict=True):
            ours, fresh, ratio = (statistics.median(column) for column in zip(*times, strict=True))
            span = f"{ratio:.2f} ({min(t[2] for t in times):.2f} to {max(t[2] for t in times):.2f})"
            rows.append((f"{list(shape)}, {words}", f"{fresh * 1e3:.1f} ms", f"{ours * 1e3:.1f} ms", span))
    body = table(("a training step", "`new_empty`", "`empty`", "ratio"), rows)
    publish("Freed memory", f"{WORDS.format(processes=processes)}\n{body}\n\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["step"]:
        print(json.dumps(measured(sys.argv[2])))
    elif sys.argv[1:]:
        main(int(sys.argv[1]), lambda title, text: print(f"## {title}\n\n{text}"))
    else:
        main(PROCESSES, put)
