"""The registries of all names that a configuration may use, and how a name is looked up."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from rules.errors import unknown
from rules.fields import check_fields, is_plain
from rules.objectives import OBJECTIVES, REGULARISERS
from rules.options import built
from rules.plasticity import PLASTICITIES
from rules.recipes import CREDITS, RULES
from rules.schedules import SCHEDULES
from rules.views import VIEWS
from sandbox.config.names import require_member
from sandbox.config.sources import sources as sources
from sandbox.machine.files import bytes_of
from sandbox.microscope import REFERENCES
from sandbox.networks.models import MODELS
from sandbox.networks.zoneout import AZO, ZONEOUTS
from sandbox.neurons import NEURONS
from sandbox.tasks import TASKS
from sandbox.tasks.encode import ENCODERS
from sandbox.tracking import TRACKERS
from sandbox.tracking.base import Tracker

REGISTRIES: dict[str, Mapping[str, Any]] = {
    "rule": RULES,
    "objective": OBJECTIVES,
    "regulariser": {**REGULARISERS, "azo": AZO},
    "credit": CREDITS,
    "plasticity": PLASTICITIES,
    "schedule": SCHEDULES,
    "task": TASKS,
    "encoder": ENCODERS,
    "views": VIEWS,
    "neuron": NEURONS,
    "model": MODELS,
    "zoneout": ZONEOUTS,
    "reference": REFERENCES,
    "tracker": TRACKERS,
}


@dataclass(frozen=True)
class Choice:
    """A member of a registry, or one of your own as `package.module:Name` or `path/to/file.py:Name`, with options.

    Args:
        name: of the member.
        options: keyword arguments for it; none by default.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(
                f"Choice takes a name, and this is a {type(self.name).__name__}: write path/to/file.py:Name; a task "
                "may be given as it is, sandbox.Experiment(task=...)"
            )
        check_fields(self)
        for option, value in self.options.items():
            if not is_plain(value):
                raise ValueError(
                    f"options.{option} of {self.name!r} is a {type(value).__name__}, which a configuration cannot "
                    "hold: use numbers, words, lists and dicts"
                )

    def make(self, kind: str, **given: Any) -> Any:
        """Build the member.

        Args:
            kind: a key of `REGISTRIES`.
            given: keyword arguments of the caller, in addition to the options.

        Raises:
            ValueError: for an unknown name or option; the message names the nearest and lists the valid ones.
        """
        return built(kind, self.name, find(kind, self.name), self.options, **given)


def find(kind: str, name: str) -> Any:
    """Return the class or function that a name stands for.

    >>> find("neuron", "lif").__name__
    'LIF'
    """
    module, colon, member = name.rpartition(":")
    if colon:
        require_member(kind, name)
        try:
            return getattr(_from_file(Path(module)) if module.endswith(".py") else _imported(module), member)
        except (ImportError, AttributeError, OSError, SyntaxError) as error:
            raise ValueError(
                f"{kind} {name!r} cannot be loaded ({error}); write package.module:Name of something that "
                "Python can import from here, or path/to/file.py:Name"
            ) from error
    if name not in REGISTRIES[kind]:
        _require_colon(kind, name)
        raise unknown(kind, name, REGISTRIES[kind])
    return REGISTRIES[kind][name]


def _imported(module: str) -> ModuleType:
    """Return a module, which is looked for in the current folder first, as `python -m` does."""
    if not {"", here := str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, here)  # to stay: what the module makes is pickled by its name
    return importlib.import_module(module)


def _require_colon(kind: str, name: str) -> None:
    """Raise ValueError for package.module.Name and for path/to/file.py, which lack a colon."""
    module, _, member = name.rpartition(".")
    if name.endswith(".py"):
        raise ValueError(f"{kind} {name!r} is a file: say what in it, {name}:Name")
    if module and all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"unknown {kind} {name!r}: write {module}:{member}, with a colon, for {member} of {module}")


def _from_file(path: Path) -> ModuleType:
    """Return the module in a file, imported under a name of its path and content: it shadows no other, nor an edit."""
    name = f"file_{hashlib.sha256(bytes(path.resolve()) + bytes_of(path)).hexdigest()[:12]}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it is executed: dataclasses look up their module here
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def made(trackers: Sequence[str | Tracker]) -> list[Tracker]:
    """Build trackers from their names; raise ValueError for an unknown one, ImportError for a missing library."""
    return [Choice(tracker).make("tracker") if isinstance(tracker, str) else tracker for tracker in trackers]
