"""Which loop runs: the kernels, the plain loop, or whatever can; and one line where it is not what one might think."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

from sandbox.machine.compiled import valid

LOG = logging.getLogger("sandbox.kernels")
MODES = {
    "auto": "kernels where they can, else the plain loop",
    "numba": "kernels, or an error that says why not",
    "triton": "experimental: kernels of Triton, on CUDA or with TRITON_INTERPRET=1 on the CPU, or an error",
    "plain": "the plain loop",
}
MEMORY = 2**31  # bytes of states that a forward pass may keep for the backward pass, before it keeps only some


class Choice(NamedTuple):
    """What was asked for."""

    mode: str
    memory: int = MEMORY


_CHOICE: ContextVar[Choice | None] = ContextVar("kernels", default=None)
GUARDED: list[Choice | None] = [None]  # the same for compiled code, which can guard a list but no ContextVar


@contextmanager
def using(mode: str, memory: int | None = None) -> Iterator[None]:
    """Run every sequence inside this block in this way: "auto", "numba", "triton" or "plain".

    Argument `memory`: the bytes of states that a forward pass may keep; where they are more, only every k-th is kept
    and the others are computed again. Raises ValueError for another word. Outside of a block, the environment variable
    SANDBOX_KERNELS decides, and without it "auto" does.

    >>> from sandbox import LIF, scan
    >>> import torch
    >>> with using("plain"):
    ...     spikes, _ = scan(LIF(), torch.full((50, 1), 1.5))
    """
    chosen = Choice(valid("mode of the kernels", mode, MODES), choice().memory if memory is None else memory)
    token, outer = _CHOICE.set(chosen), GUARDED[0]
    GUARDED[0] = chosen
    try:
        yield
    finally:
        _CHOICE.reset(token)
        GUARDED[0] = outer


def choice() -> Choice:
    """What holds now."""
    return _CHOICE.get() or _of_environment(os.environ.get("SANDBOX_KERNELS", "auto"))


@lru_cache(maxsize=8)
def _of_environment(word: str) -> Choice:
    return Choice(valid("SANDBOX_KERNELS", word, MODES))


@lru_cache(maxsize=256)
def explain(cell: str, reason: str) -> None:
    """One line, once for each cell and reason."""
    LOG.warning("%s runs in the plain loop: %s", cell, reason)
