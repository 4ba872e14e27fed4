"""Import Brian2, or report how to install it."""

from __future__ import annotations

import importlib
from typing import Any


def brian2() -> Any:
    """Return the module `brian2`; raise ImportError with the command that installs it.

    >>> brian2().__name__
    'brian2'
    """
    try:
        return importlib.import_module("brian2")
    except ImportError as missing:
        raise ImportError(
            "this needs Brian2, which is not installed: pip install 'learning-rule-sandbox[reference]'"
        ) from missing
