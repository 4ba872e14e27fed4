"""Members of a registry inside the options of a model: by name, by name with options, or as objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.errors import unknown
from rules.options import built


def named(kind: str, given: str | Mapping[str, Any], registry: Mapping[str, Any]) -> Any:
    """Return a member by name, or by name with options.

    Args:
        kind: what it is, for messages.
        given: a name, or `{"name": ..., "options": {...}}`.
        registry: the members by name.

    Raises:
        ValueError: for an unknown name, key or option, with the valid ones.

    >>> named("number", {"name": "complex", "options": {"real": 1.0}}, {"complex": complex})
    (1+0j)
    """
    if not isinstance(given, (str, Mapping)):
        raise ValueError(f"{kind}={given!r}: give a name of {', '.join(registry)}, or {{'name': ..., 'options': ...}}")
    entry: dict[str, Any] = {"name": given} if isinstance(given, str) else dict(given)
    for key in entry:
        if key not in ("name", "options"):
            raise unknown(f"key of {kind}", key, ("name", "options"))
    name = str(entry.get("name"))
    if name not in registry:
        raise unknown(kind, name, registry)
    return built(kind, name, registry[name], entry.get("options", {}))
