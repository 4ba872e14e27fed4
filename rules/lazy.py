"""A package's public names, each imported at its first use, so that importing the package is quick."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_LOCK = threading.RLock()  # two threads that import parts of one package at once can wait for one another

_LOCK = threading.RLock()  # two threads that import parts of one package at once can wait for one another


def face(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package whose members are defined in these modules.

    Args:
        package: its `__name__`.
        homes: the module of each public name. Subpackages are found without being listed.

    >>> from rules import lazy
    >>> find, names = lazy.face("rules", {"BPTT": "rules.credit.bptt"})
    >>> find("BPTT").__name__, names()
    ('BPTT', ['BPTT'])
    """

    def find(name: str) -> Any:
        with _LOCK:
            if name in homes:
                member = getattr(import_module(homes[name]), name)
                setattr(sys.modules[package], name, member)  # looked up once
                return member
            if name.isidentifier() and not name.startswith("_") and find_spec(f"{package}.{name}") is not None:
                return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}; it has: {', '.join(homes)}")

    return find, lambda: sorted(homes)
