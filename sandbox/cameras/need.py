"""Import a package that only some formats need, or report how to install it."""

from __future__ import annotations

import importlib
from typing import Any


def module(name: str, what: str, extra: str = "cameras") -> Any:
    """Return a module of one of our extras; raise ImportError with the command that installs it.

    >>> module("json", "JSON").__name__
    'json'
    """
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise ImportError(
            f"{what} needs {name}, which is not installed: pip install 'learning-rule-sandbox[{extra}]'"
        ) from missing
