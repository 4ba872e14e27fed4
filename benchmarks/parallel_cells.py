"""Parallel spiking neurons against a LIF, in a plain loop and in a kernel: forward and backward at T = 32."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from readme import machine, put, table
from timing import in_turn, stopwatch

from sandbox import scan
from sandbox.neurons import LIF, PSN, Cell, SlidingPSN

T = 32
SIZES = {(128, 1024): {"PSN": (">= 3", ">= 1")}, (8, 64): {}}  # batch and cells -> targets
ROUNDS = 9


def both(cell: Cell, x: torch.Tensor, error: torch.Tensor, kernels: str) -> Callable[[], object]:
    """Return a call that runs a sequence and its gradient."""

    def call() -> None:
        os.environ["SANDBOX_KERNELS"] = kernels
        given = x.detach().requires_grad_()
        wanted = [given, *(v for v in vars(cell).values() if isinstance(v, torch.Tensor) and v.requires_grad)]
        torch.autograd.grad(scan(cell, given)[0], wanted, error)

    return call


def main() -> None:
    """Write the section."""
    torch.set_num_threads(1)
    parts = [f"Forward and backward of T = {T} steps, float32, medians of {ROUNDS} interleaved runs."]
    for (batch, cells), targets in SIZES.items():
        parts += [f"Batch {batch}, {cells} cells:", measured(batch, cells, targets)]
    put("Parallel cells", "\n\n".join([*parts, machine("torch", "numpy", "learning-rule-sandbox")]))


def measured(batch: int, count: int, targets: dict[str, tuple[str, str]]) -> str:
    """Return the table of a size."""
    rng = torch.Generator().manual_seed(0)
    x, error = (torch.randn(T, batch, count, generator=rng) for _ in range(2))
    weight = torch.randn(T, T, generator=rng).requires_grad_()
    sides = {
        "LIF, plain loop": both(LIF(), x, error, "plain"),
        "LIF, kernel": both(LIF(), x, error, "numba"),
        "PSN": both(PSN(T, weight=weight), x, error, "plain"),
        "SlidingPSN, k = 32": both(SlidingPSN(T), x, error, "plain"),
        "SlidingPSN, k = 32, convolution": both(SlidingPSN(T, by="conv"), x, error, "plain"),
    }
    calls = [stopwatch(call) for call in sides.values()]
    in_turn(calls, 1)
    times = in_turn(calls, ROUNDS)
    loop, kernel = 0, 1
    body = []
    for number, name in enumerate(sides):
        took = statistics.median(row[number] for row in times)
        over = [f"{statistics.median(row[other] / row[number] for row in times):.2f}" for other in (loop, kernel)]
        body.append((name, f"{1e3 * took:.2f}", *over, *targets.get(name, ("", ""))))
    head = ("cells", "both [ms]", "loop / this", "kernel / this", "loop: target", "kernel: target")
    return table(head, body)


if __name__ == "__main__":
    main()
