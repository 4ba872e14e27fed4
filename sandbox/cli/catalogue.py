"""One sentence for every registered name: from the registries, or from the copy that `make docs` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

MEMORY = "memory"  # the key of the steps to remember, at most
SIZES = "sizes"  # the key of the numbers of parameters of models
COPY = Path(__file__).with_name("catalogue.json")  # a test compares it with the registries


def read() -> dict[str, dict[str, str]]:
    """Return the sentence of every name, by kind, from the copy."""
    return {kind: known for kind, known in _copy().items() if kind not in (MEMORY, SIZES)}


def memory() -> dict[str, int]:
    """Return the time steps that each task wants remembered, at most, with its defaults, from the copy."""
    found: dict[str, int] = _copy()[MEMORY]
    return found


def sizes() -> dict[str, dict[str, int]]:
    """Return the number of parameters of every size of the models that have sizes, from the copy."""
    found: dict[str, dict[str, int]] = _copy()[SIZES]
    return found


def _copy() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(COPY.read_text())
    return found


def registries() -> dict[str, Mapping[str, Any]]:
    """Return every registry, by the kind of its members."""
    from rules.plasticity.memristor import DEVICES, STORES
    from sandbox.config.registry import REGISTRIES

    return {**REGISTRIES, "device": DEVICES, "store": STORES}


def made() -> dict[str, dict[str, str]]:
    """Return the sentence of every name, by kind, from the registries."""
    return {kind: {name: summary(member) for name, member in known.items()} for kind, known in registries().items()}


def remembered() -> dict[str, int]:
    """Return the time steps that each task wants remembered, at most, with its defaults, from the registry."""
    from sandbox.tasks import TASKS

    return {name: steps for name, task in TASKS.items() if (steps := task().memory) is not None}


def counted() -> dict[str, dict[str, int]]:
    """Return the number of parameters of every size of the models that have sizes, from the table."""
    from sandbox.networks.models.published import facts

    return facts()


def summary(member: Any) -> str:
    """Return the first line of a docstring; for a device, its law and the parameters that differ from its defaults."""
    from rules.plasticity.memristor.device import Device

    if isinstance(member, Device):
        settings: Any = member
        changed = [f"{f.name}={v}" for f in fields(settings) if (v := getattr(settings, f.name)) != f.default]
        return f"{type(member).__name__}({', '.join(changed)})"
    kind = getattr(member, "func", member)  # a `functools.partial` of a class
    return (kind.__doc__ or "").strip().split("\n")[0]


if __name__ == "__main__":
    COPY.write_text(json.dumps({**made(), MEMORY: remembered(), SIZES: counted()}, indent=1, ensure_ascii=False) + "\n")
