"""The mode of synapses: by events, by the dense product, or by whichever is faster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

from sandbox.machine.compiled import absent, valid

MODES = {
    "auto": "by events if the input is sparse enough to be faster, else the dense product",
    "events": "by events; an error if numba is missing",
    "dense": "the dense product",
}

_MODE: ContextVar[str | None] = ContextVar("synapses", default=None)


@contextmanager
def using(mode: str) -> Iterator[None]:
    """Set the mode of synapses inside this block.

    Outside of a block the environment variable SANDBOX_SYNAPSES sets the mode; without it, the mode is "auto".

    Args:
        mode: "auto", "events" or "dense".

    Raises:
        ValueError: for an unknown mode.
        RuntimeError: for "events" without numba.

    >>> with using("dense"):
    ...     mode()
    'dense'
    """
    token = _MODE.set(_checked("mode of the synapses", mode))
    try:
        yield
    finally:
        _MODE.reset(token)


def mode() -> str:
    """Return the present mode; "dense" instead of "auto" without numba."""
    chosen = _MODE.get() or _checked("SANDBOX_SYNAPSES", os.environ.get("SANDBOX_SYNAPSES", "auto"))
    return "dense" if chosen == "auto" and absent() else chosen


@lru_cache(maxsize=16)
def _checked(name: str, mode: str) -> str:
    if valid(name, mode, MODES) == "events" and absent():
        raise RuntimeError(f"{name}='events': {absent()}; or use 'auto' or 'dense'")
    return mode
