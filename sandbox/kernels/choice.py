"""The choice of the loop: kernels, the plain loop, or automatic; and a log line for unexpected use of the plain one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

from rules.spikes.blocks import Blocks
from sandbox.machine.compiled import valid

LOG = logging.getLogger("sandbox.kernels")
MODES = {
    "auto": "kernels where they can run, otherwise the plain loop",
    "numba": "kernels, or an error with the reason",
    "triton": "experimental: kernels of Triton, on CUDA or with TRITON_INTERPRET=1 on the CPU, or an error",
    "plain": "the plain loop",
}
MEMORY = 2**31  # bytes of states that a forward pass may keep for the backward pass, before it keeps only some


class Choice(NamedTuple):
    """The chosen mode, the bytes of states that a forward pass may keep, and whether earlier calls count for "auto"."""

    mode: str
    memory: int = MEMORY
    history: bool = True


_CHOICE: ContextVar[Choice | None] = ContextVar("kernels", default=None)
BLOCKS = Blocks()
GUARDED: list[Choice | None] = BLOCKS.top  # the same for compiled code


@contextmanager
def using(mode: str | None = None, memory: int | None = None, history: bool | None = None) -> Iterator[None]:
    """Run every sequence inside this block in one mode.

    Outside of a block, the environment variable SANDBOX_KERNELS sets the mode, "auto" by default.

    Args:
        mode: "auto", "numba", "triton" or "plain", see `MODES`; None for the present mode.
        memory: bytes of states that a forward pass may keep; None for the present limit (2 GiB at first). If there are
            more, only every k-th state is kept, and the others are computed again in the backward pass.
        history: whether "auto" compiles a kernel for short sequences of few cells once there were many of them, or
            takes one that this process has compiled already; the last bit of a result then depends on earlier calls.
            False: only the shape decides, as in every run of `sandbox run` and `compare`, which therefore repeat bit
            for bit when they are resumed. None for the present choice (True at first).

    Raises:
        ValueError: for an unknown mode.

    >>> from sandbox import LIF, scan
    >>> import torch
    >>> with using("plain"):
    ...     spikes, _ = scan(LIF(), torch.full((50, 1), 1.5))
    """
    asked = None if mode is None else valid("mode of the kernels", mode, MODES)
    now = choice()
    chosen = Choice(
        asked or now.mode,
        now.memory if memory is None else memory,
        now.history if history is None else history,
    )
    token, entry = _CHOICE.set(chosen), BLOCKS.enter(chosen)
    try:
        yield
    finally:
        _CHOICE.reset(token)
        BLOCKS.leave(entry)


def choice() -> Choice:
    """Return the present choice."""
    return _CHOICE.get() or _of_environment(os.environ.get("SANDBOX_KERNELS", "auto"))


@lru_cache(maxsize=8)
def _of_environment(mode: str) -> Choice:
    return Choice(valid("SANDBOX_KERNELS", mode, MODES))


@lru_cache(maxsize=256)
def explain(cell: str, reason: str) -> None:
    """Log why a cell runs in the plain loop, once for each cell and reason."""
    LOG.warning("%s runs in the plain loop: %s", cell, reason)
