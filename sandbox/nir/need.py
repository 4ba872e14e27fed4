"""Import the package `nir`, or report how to install it."""

from __future__ import annotations

import importlib
from typing import Any


def package() -> Any:
    """Return the module `nir`; raise ImportError with the command that installs it.

    >>> package().__name__  # doctest: +SKIP
    'nir'
    """
    try:
        return importlib.import_module("nir")
    except ImportError as missing:
        raise ImportError(
            "graphs of NIR need the package nir, which is not installed: pip install 'learning-rule-sandbox[nir]'"
        ) from missing
