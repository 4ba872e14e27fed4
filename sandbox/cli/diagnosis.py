"""`sandbox doctor`: which packages are installed, how to install the others, and whether they work."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sandbox.cli.printing import say
from sandbox.machine.packages import OWN, rivals
from sandbox.runs import folder as folders

INSTALLED = "installed"
IMPORTED = ("reference", "kernels")  # a broken one is otherwise ignored silently, so it is imported, too
EXTRAS = {  # extra: the modules that it installs
    "reference": ("brian2",),
    "kernels": ("numba",),
    "tune": ("optuna",),
    "trackers": ("tensorboard", "mlflow"),
    "triton": ("triton",),
    "notebooks": ("nbconvert", "ipykernel"),
}


def doctor(given: Any) -> int:
    """Print what is installed, where data are, which kernels and synapses run, and whether Brian2 and torch agree.

    Returns 1 if Brian2 disagrees, or if another distribution provides a package `rules`. A missing extra is named with
    the command that installs it; it is not an error.
    """
    from sandbox import kernels
    from sandbox.synapses.calibration import state
    from sandbox.tasks.files import data_folders

    agrees, others = brian2_agrees(), rivals()
    facts = {
        **folders.surroundings(),
        "data_folders": [str(path) for path in data_folders(None)],
        "brian2_agrees": agrees,
        "kernels": kernels.state(),
        "synapses": state(),
        "extras": {name: state_of(name) for name in EXTRAS},
        "rivals": others,
    }
    hidden = ("versions", "extras", "rivals")
    lines = [
        f"{name:<14} {'not checked' if value is None else value}" for name, value in facts.items() if name not in hidden
    ]
    lines += [f"{name:<22} {number}" for name, number in facts["versions"].items()]
    lines += [f"extra {name:<16} {found}" for name, found in facts["extras"].items()]
    if others:
        lines.append(
            f"another distribution also provides a package `rules`, {', '.join(others)}: uninstalling one of the two "
            f"removes files of the other; install {OWN} in an environment of its own"
        )
    say(given, facts, "\n".join(lines))
    return 1 if agrees is False or others else 0


def brian2_agrees() -> bool | None:
    """Return whether a short validation of LIF passes; None if Brian2 is missing or broken."""
    if state_of("reference") != INSTALLED:
        return None
    from sandbox.neurons import LIF
    from sandbox.reference import validate

    return validate(LIF(), duration=20.0, cells=2, tiers=("same_scheme",)).passed


def state_of(extra: str) -> str:
    """Return `INSTALLED`, or why an extra is missing or cannot be imported, with the command that installs it."""
    command = f"pip install '{OWN}[{extra}]'"
    absent = [name for name in EXTRAS[extra] if not present(name)]
    if absent:
        return f"without {', '.join(absent)}: {command}"
    for name in EXTRAS[extra] if extra in IMPORTED else ():
        try:
            import_module(name)
        except (Exception, SystemExit) as error:  # a broken installation may raise anything
            return f"{name} is installed but cannot be imported ({type(error).__name__}: {error}): {command}"
    return INSTALLED


def present(name: str) -> bool:
    """Return whether a module can be found."""
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
