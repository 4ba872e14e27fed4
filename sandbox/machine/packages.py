"""Check that `import rules` finds our package: others publish one of that name, and a file `rules.py` shadows it."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

OWN = "learning-rule-sandbox"


def require_own_rules() -> None:
    """Raise ImportError, with the remedy, if `import rules` finds a package other than ours."""
    try:
        found = importlib.import_module("rules")
    except ImportError as error:  # a foreign package may need modules that are not installed
        raise ImportError(foreign(None)) from error
    if vars(found).get("DISTRIBUTION") != OWN:
        raise ImportError(foreign(found.__file__))


def own_version() -> str:
    """Return the version of this package; `unknown` if it is imported without being installed."""
    try:
        return version(OWN)
    except PackageNotFoundError:
        return "unknown"


def foreign(place: str | None) -> str:
    """Return the message for a foreign package `rules`: where it is, whose it is, and the remedy."""
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
    """Return other installed distributions that provide a package `rules`, with their versions."""
    owners = dict.fromkeys(packages_distributions().get("rules", []))
    return [f"{name} {version(name)}" for name in owners if name.replace("_", "-").lower() != OWN]
