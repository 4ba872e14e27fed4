"""Whether the package `rules` is ours: others publish packages of that name, and a file `rules.py` shadows it."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

OWN = "learning-rule-sandbox"


def require_own_rules() -> None:
    """Raise ImportError, with what to do, where `import rules` finds another package than ours."""
    try:
        found = importlib.import_module("rules")
    except ImportError as error:  # another package may want what is not installed here
        raise ImportError(foreign(None)) from error
    if vars(found).get("DISTRIBUTION") != OWN:
        raise ImportError(foreign(found.__file__))


def own_version() -> str:
    """Return the version of this package; `unknown` where it is imported without being installed."""
    try:
        return version(OWN)
    except PackageNotFoundError:
        return "unknown"


def foreign(place: str | None) -> str:
    """What is wrong with a package `rules` at this place, and what to do."""
    where = "that Python finds" if place is None else f"at {Path(place)}"
    if others := rivals():
        uninstall = " ".join(name.split(" ")[0] for name in others)
        whose, remedy = (
            f"it belongs to {', '.join(others)}",
            f"run `pip uninstall {uninstall}`, then `pip install --force-reinstall --no-deps {OWN}`, or give each an "
            "environment of its own",
        )
    else:
        whose, remedy = "no installed distribution owns it", "rename it, or start Python in another folder"
    return f"the package `rules` {where} is not that of {OWN}; {whose}: {remedy}"


def rivals() -> list[str]:
    """Other installed distributions that bring a package `rules`, with their versions."""
    owners = dict.fromkeys(packages_distributions().get("rules", []))
    return [f"{name} {version(name)}" for name in owners if name.replace("_", "-").lower() != OWN]
