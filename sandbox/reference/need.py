"""Import Brian2, or report how to install it."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def brian2() -> Any:
    """Return the module `brian2`; raise ImportError with the command that installs it.

    Where it is imported here for the first time, errors of the program stay as they were: Brian2 would call each one
    that nobody catches an unexpected error of its own.

    >>> brian2().__name__
    'brian2'
    """
    try:
        hook, known = sys.excepthook, "brian2" in sys.modules
        found = importlib.import_module("brian2")
        if not known:
            sys.excepthook = hook
        return found
    except ImportError as missing:
        raise ImportError(
            "this needs Brian2, which is not installed: pip install 'learning-rule-sandbox[reference]'"
        ) from missing
