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

Mode = str | float

_MODE: ContextVar[Mode | None] = ContextVar("synapses", default=None)


@contextmanager
def using(mode: Mode) -> Iterator[None]:
    """Set the mode of synapses inside this block.

    Outside of a block the environment variable SANDBOX_SYNAPSES sets the mode; without it, the mode is "auto".

    Args:
        mode: "auto", "events", "dense", or a density from 0 to 1: by events where a smaller share of the input is
            active, else the dense product.

    Raises:
        ValueError: for an unknown mode.
        RuntimeError: for "events" or a density without numba.

    >>> with using("dense"):
    ...     mode()
    'dense'
    """
    token = _MODE.set(checked("mode of the synapses", mode))
    try:
        yield
    finally:
        _MODE.reset(token)


def mode() -> Mode:
    """Return the present mode; "dense" instead of "auto" without numba."""
    chosen = _MODE.get()
    if chosen is None:
        chosen = _of_environment(os.environ.get("SANDBOX_SYNAPSES", "auto"))
    return "dense" if chosen == "auto" and absent() else chosen


@lru_cache(maxsize=16)
def _of_environment(text: str) -> Mode:
    try:
        chosen: Mode = float(text)
    except ValueError:
        chosen = text
    return checked("SANDBOX_SYNAPSES", chosen)


def checked(name: str, mode: Mode) -> Mode:
    """Return a mode; raise ValueError if it is unknown, and RuntimeError if it cannot run here."""
    if isinstance(mode, bool) or not isinstance(mode, (str, int, float)):
        raise ValueError(f"{name} is {mode!r}; give one of {', '.join(MODES)}, or a density such as 0.2")
    if isinstance(mode, str):
        valid(name, mode, MODES)
    elif not 0 <= mode <= 1:
        raise ValueError(f"{name} is {mode}: give a density from 0 to 1, below which synapses go by events")
    if mode not in ("auto", "dense") and absent():
        raise RuntimeError(f"{name}={mode!r}: {absent()}; or use 'auto' or 'dense'")
    return mode if isinstance(mode, str) else float(mode)
