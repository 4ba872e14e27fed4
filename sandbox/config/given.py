"""Tasks that are given as objects from Python, in configurations, which hold names."""

from __future__ import annotations

import inspect
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from rules.fields import is_plain
from sandbox.config.identity import changed
from sandbox.config.registry import Choice
from sandbox.tasks.base import ArrayTask, Task

CHECKSUM = "sha256"  # the option that stands for the arrays of a task


class Given(Choice):
    """The choice of a task made of arrays: its name, the checksum of the arrays as an option, and the task itself.

    Only name and checksum are part of a configuration. A copy for another process has no arrays: a run reads them from
    its folder (`sandbox.runs.arrays`).
    """

    task: ArrayTask

    def make(self, kind: str, **given: Any) -> Any:
        """Return the task."""
        return self.task

    def __reduce__(self) -> Any:
        return Choice, (self.name, self.options)


def given(task: ArrayTask) -> Given:
    """Return the choice of a task made of arrays."""
    choice = Given(task.name, {CHECKSUM: task.data.checksum})
    object.__setattr__(choice, "task", task)
    return choice


def choice_of(task: Any) -> Choice:
    """Return a task as a configuration holds it: a name with options.

    Raises:
        ValueError: for a task that a worker process could not find again.

    >>> from sandbox.tasks import Digits
    >>> choice_of(Digits(image=True))
    Choice(name='sandbox.tasks.digits:Digits', options={'image': True})
    """
    if isinstance(task, Choice):
        return task
    if isinstance(task, ArrayTask):
        return given(task)
    kind = task if inspect.isclass(task) else type(task)
    if not issubclass(kind, Task):
        raise ValueError(
            f"task is a {kind.__name__}: give sandbox.Choice('digits'), a class or an object of sandbox.Task, or "
            "sandbox.Task.from_arrays(x, y)"
        )
    return Choice(_home(kind), {} if inspect.isclass(task) else _options(task))


def _home(kind: type[Task]) -> str:
    """Return where a class can be imported from, as `package.module:Name` or `path/to/file.py:Name`."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if getattr(module, kind.__qualname__, None) is not kind or (kind.__module__ == "__main__" and file is None):
        raise ValueError(
            f"the task {kind.__qualname__} is defined inside of a function or in a notebook, where other processes "
            "cannot import it: move it to a file, mytasks.py, or give its arrays, sandbox.Task.from_arrays(x, y)"
        )
    # A module that was loaded by its path has a name that nobody else can import.
    if kind.__module__ == "__main__" or kind.__module__.startswith("file_"):
        path = Path(str(file)).resolve()
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return f"{shown}:{kind.__qualname__}"
    return f"{kind.__module__}:{kind.__qualname__}"


def _options(task: Task) -> dict[str, Any]:
    """Return the options of a task that are not defaults, which must be plain data."""
    if not is_dataclass(task) and vars(task):
        raise ValueError(
            f"{type(task).__name__} holds {', '.join(vars(task))}, and a configuration cannot say which: make it a "
            "frozen dataclass, with @dataclass(frozen=True) and fields of numbers and words"
        )
    plain: dict[str, Any] = changed(task) if is_dataclass(task) else {}
    for name in plain:
        value = getattr(task, name)
        if not is_plain(value):
            raise ValueError(
                f"{type(task).__name__}.{name} is a {type(value).__name__}, which a configuration cannot hold: use "
                "numbers, words, lists and dicts, or give arrays, sandbox.Task.from_arrays(x, y)"
            )
    return plain
