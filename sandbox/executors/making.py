"""Executors by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rules.errors import unknown
from rules.options import built
from sandbox.executors.base import Executor

# Name -> class, called with `jobs` (how many run at a time) and its own options; one whose package is not installed
# raises ImportError that names the extra.
EXECUTORS = {
    "local": "sandbox.executors.local:Local",
    "shared": "sandbox.executors.shared:Shared",
    "slurm": "sandbox.executors.slurm:Slurm",
    "ray": "sandbox.executors.ray:Ray",
}


def make(executor: str | Executor, jobs: int, options: Mapping[str, Any] | None = None) -> Executor:
    """Return an executor by name; one that is given is returned as it is.

    Args:
        executor: a name of EXECUTORS, or an executor.
        jobs: how many jobs run at a time.
        options: of the executor.

    Raises:
        ValueError: for fewer than one job, an unknown name or option.
        ImportError: for an executor whose package is not installed; the message names the extra.

    >>> make("locl", 2)
    Traceback (most recent call last):
    ...
    ValueError: unknown executor 'locl'; nearest: 'local'; valid: local, shared, slurm, ray
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: give the number of processes, at least 1")
    if not isinstance(executor, str):
        if not isinstance(executor, Executor):
            raise ValueError(
                f"executor is a {type(executor).__name__}: give a name, {', '.join(EXECUTORS)}, or an object with the "
                "methods of sandbox.executors.base.Executor"
            )
        return executor
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    module, name = EXECUTORS[executor].split(":")
    kind = getattr(import_module(module), name)
    return built("executor", executor, kind, options or {}, jobs=jobs)  # type: ignore[no-any-return]
