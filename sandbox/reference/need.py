"""Brian2, or the word on how to get it."""

from __future__ import annotations

import importlib
from typing import Any


def brian2() -> Any:
    """The module `brian2`; raises ImportError with the command that installs it.

    >>> brian2().__name__
    'brian2'
    """
    try:
        return importlib.import_module("brian2")
    except ImportError as missing:
        raise ImportError(
            "this needs Brian2, which is not installed: pip install 'learning-rule-sandbox[reference]'"
        ) from missing
