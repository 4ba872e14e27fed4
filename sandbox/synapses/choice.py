"""How synapses weigh their input: by events, by the dense product, or by whichever is quicker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

from sandbox.machine.compiled import absent, valid

MODES = {
    "auto": "by events where the input is sparse enough to gain, else the dense product",
    "events": "by events, or an error where numba is missing",
    "dense": "the dense product",
}

_MODE: ContextVar[str | None] = ContextVar("synapses", default=None)


@contextmanager
def using(mode: str) -> Iterator[None]:
    """Weigh in this way inside this block: "auto", "events" or "dense".

    Outside of a block the environment variable SANDBOX_SYNAPSES decides, and without it "auto" does. Raises ValueError
    for another word, and RuntimeError for "events" without numba.

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
    """What holds now; "dense" in place of "auto" where there is no numba."""
    word = _MODE.get() or _checked("SANDBOX_SYNAPSES", os.environ.get("SANDBOX_SYNAPSES", "auto"))
    return "dense" if word == "auto" and absent() else word


@lru_cache(maxsize=16)
def _checked(name: str, word: str) -> str:
    if valid(name, word, MODES) == "events" and absent():
        raise RuntimeError(f"{name}='events': {absent()}; or use 'auto' or 'dense'")
    return word
