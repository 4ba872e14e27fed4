"""What compiled loops of neurons and of synapses need of a machine: numba, a mode, and a place to keep things."""

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
    """Why nothing can be compiled on this machine; None where it can."""
    return None if find_spec("numba") else "numba is not installed: pip install 'learning-rule-sandbox[kernels]'"


def valid(name: str, word: str, modes: Iterable[str]) -> str:
    """The word, where it is a mode; raises ValueError otherwise."""
    if word not in modes:
        raise unknown(name, word, modes)
    return word


def state(mode: str) -> str:
    """What `sandbox doctor` says first of loops that run in this mode."""
    return f"numba {version('numba')}, mode {mode!r}"


def settled(function: F) -> F:
    """Marks a function whose result torch.compile takes for a constant.

    What `torch.compiler.assume_constant_result` does, which imports the whole compiler to set this one word; a test
    holds it to that.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@lru_cache(maxsize=16)
def cache_folder(given: str | None) -> Path:
    """Where things are kept between runs: the folder that was given, or the user's cache folder."""
    from platformdirs import user_cache_dir

    return Path(given or user_cache_dir("learning-rule-sandbox"))
