"""What the compiled loops of neurons and synapses share: whether numba is installed, modes, and a cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from rules.errors import unknown

F = TypeVar("F", bound=Callable[..., Any])


@lru_cache(maxsize=1)
def absent() -> str | None:
    """Return why nothing can be compiled on this machine; None if it can."""
    return None if find_spec("numba") else "numba is not installed: pip install 'learning-rule-sandbox[kernels]'"


def valid(name: str, mode: str, modes: Iterable[str]) -> str:
    """Return a mode if it is valid; raise ValueError otherwise.

    Args:
        name: what the mode selects, for the message.
        mode: the one to check.
        modes: the valid ones.
    """
    if mode not in modes:
        raise unknown(name, mode, modes)
    return mode


def state(mode: str) -> str:
    """Return the version of numba and the mode, for `sandbox doctor`."""
    return f"numba {version('numba')}, mode {mode!r}"


def settled(function: F) -> F:
    """Mark a function whose result torch.compile may treat as a constant.

    `torch.compiler.assume_constant_result` does the same, but imports the whole compiler to set this one attribute; a
    test checks that both set the same.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@lru_cache(maxsize=16)
def cache_folder(given: str | None) -> Path:
    """Return the folder for files that are kept between runs: `given`, or the user's cache folder."""
    from platformdirs import user_cache_dir

    return Path(given or user_cache_dir("learning-rule-sandbox"))
