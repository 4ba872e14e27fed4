"""A short name for a configuration: equal configurations have equal names."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, fields, is_dataclass
from typing import Any


def fingerprint(config: Any) -> str:
    """Return eight hexadecimal digits of a hash of those values in a configuration that differ from the defaults.

    Defaults are left out, so that a field that a later version adds does not rename the folders of earlier runs.
    """
    return digest(config)[:8]


def digest(config: Any) -> str:
    """Return the whole hash of which `fingerprint` is the beginning: 64 hexadecimal digits."""
    text = json.dumps(changed(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def changed(value: Any) -> Any:
    """Return those values in a configuration that differ from its defaults, as nested dicts and lists."""
    if isinstance(value, (list, tuple)):
        return [changed(entry) for entry in value]
    if not is_dataclass(value):
        return value
    plain = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(value)}
    return {name: changed(getattr(value, name)) for name, usual in plain.items() if getattr(value, name) != usual}
