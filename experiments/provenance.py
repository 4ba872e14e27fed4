"""What a record of evidence says of its origin, and how a script goes on with the record of an earlier run."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from sandbox.machine.files import read_json
from sandbox.machine.revision import revision
from sandbox.statistics import paired


def machine() -> str:
    """Return the system, the processor's kind and the version of Python."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"


def origin(command: str) -> dict[str, Any]:
    """Return the command, the git revision of the code and the machine."""
    return {"command": command, "revision": revision(), "machine": machine()}


def continued(place: Path, command: str, settings: dict[str, Any], *empty: str) -> dict[str, Any]:
    """Return the record that an earlier run of the same settings left, or one whose fields are still `empty`.

    Every revision that has added to the record is named in it.
    """
    made: dict[str, Any] = {"command": command, "machine": f"{machine()}, one thread", "settings": settings}
    made |= {name: {} for name in empty}
    if place.exists() and (known := read_json(place))["settings"] == settings:
        made = known
    made["revisions"] = sorted({*made.get("revisions", []), revision()})
    return made


def gap(a: list[float], b: list[float], digits: int = 2) -> dict[str, float]:
    """Return the mean of `a - b`, seed by seed, with its interval of 95 %."""
    return {name: round(value, digits) for name, value in paired(a, b).difference._asdict().items()}
