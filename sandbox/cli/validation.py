"""`sandbox validate`: many neurons against Brian2, each as a job for the executor."""

from __future__ import annotations

import contextlib
import inspect
import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rules.options import lacking, written
from sandbox import executors
from sandbox.config.registry import Choice, find
from sandbox.executors.base import Executor, Progress, free, run_all
from sandbox.reference.conformance.report import ConformanceReport
from sandbox.reference.conformance.validate import validate

REPORT = "report.pickle"  # safe to unpickle: written by our own worker, in a private temporary folder


@dataclass(frozen=True)
class Validation:
    """The validation of one neuron, which leaves its report in its folder."""

    preload: ClassVar[tuple[str, ...]] = ("sandbox.cli.validation",)
    alone: ClassVar[bool] = False

    neuron: Choice
    settings: dict[str, Any]
    folder: Path
    equation: Choice | None = None  # that the neuron is said to be, where it is a step

    @property
    def has_result(self) -> bool:
        """Whether the report is written."""
        return (self.folder / REPORT).exists()

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        """Validate on one thread."""
        import torch

        torch.set_num_threads(1)
        self.folder.mkdir(exist_ok=True)
        found = pickle.dumps(validated(self.neuron, self.equation, **self.settings))
        fence()
        (self.folder / REPORT).write_bytes(found)
        progress(1, 1)

    def noted(self, state: str) -> None:
        """Do nothing: the index of runs has no validations."""


def validated(choice: Choice, equation: Choice | None, **settings: Any) -> ConformanceReport:
    """Return the report of a neuron of the sandbox, of a cell of a known library, or of a step and its equation.

    Raises:
        ValueError: for options that are missing, and for what is neither where no equation is named.
    """
    if equation is None:
        return validate(cell_of(choice), **settings)
    return validate(_made(equation, "--as-options"), step=step_of(choice), **settings)


def cell_of(choice: Choice) -> Any:
    """Return the neuron of the sandbox, or the cell of a known library, that a name stands for.

    Raises:
        ValueError: for anything else, with the equations that it may be said to be.
    """
    from sandbox.neurons.cell import Cell
    from sandbox.reference.peers import KNOWN, known

    if _is_step(find("neuron", choice.name), choice):
        raise _without_equation(choice.name, f"{choice.name!r} is a step, and not its equation")
    made = _made(choice)
    if not isinstance(made, Cell) and not known(made) and type(made).__module__.partition(".")[0] not in KNOWN:
        raise _without_equation(
            choice.name,
            f"{choice.name!r} is neither a neuron of the sandbox nor a cell of {', '.join(KNOWN)}",
        )
    return made


def _without_equation(name: str, what: str) -> ValueError:
    return ValueError(f"{what}: say which equation {name} is, --as NAME, one of {', '.join(equations())}")


def equations() -> list[str]:
    """Return the neurons that a step may be said to be: not those that draw random numbers, for example."""
    from sandbox.neurons import NEURONS
    from sandbox.reference.conformance.black_box import admit_equation

    found = []
    for name, kind in NEURONS.items():
        with contextlib.suppress(ValueError):
            admit_equation(kind())
            found.append(name)
    return found


def _made(choice: Choice, where: str = "--options") -> Any:
    """Return what a name makes; raise ValueError for options that it needs."""
    if missing := lacking(find("neuron", choice.name), choice.options):
        raise ValueError(f"{choice.name!r} needs {' and '.join(missing)}: give {where} {written(missing)}")
    return choice.make("neuron")


def step_of(choice: Choice) -> Any:
    """Return the step that a name stands for.

    A function of two arguments is the step itself; a class or another function is called with the options, and what it
    returns is the step, or a cell of a known library.

    Raises:
        ValueError: for a neuron of the sandbox, which has its equation already, and for what is not called.
    """
    from sandbox.neurons import NEURONS
    from sandbox.neurons.cell import Cell
    from sandbox.reference.peers import as_step, known

    if ":" not in choice.name:
        if choice.name in NEURONS:
            raise ValueError(f"{choice.name!r} is a neuron of the sandbox, which is its own equation: leave --as out")
        raise ValueError(f"{choice.name!r} names no step: write path/to/file.py:NAME, or package.module:NAME")
    found = find("neuron", choice.name)
    if _is_step(found, choice):
        return found
    made = _made(choice)
    if known(made):
        return as_step(made)
    if isinstance(made, Cell) or not callable(made):
        raise ValueError(
            f"{choice.name!r} makes a {type(made).__name__}, which is not a function step(current, state): name one, "
            "or leave --as out for a neuron of the sandbox"
        )
    return made


def _is_step(found: Any, choice: Choice) -> bool:
    """Return whether it is a step itself: a function of two arguments without a default."""
    return inspect.isfunction(found) and not choice.options and len(lacking(found, ())) == 2


def validate_all(
    choices: Mapping[str, Choice],
    jobs: int = 2,
    executor: str | Executor = "local",
    equation: Choice | None = None,
    **settings: Any,
) -> dict[str, ConformanceReport]:
    """Return the report of each neuron, by name.

    Args:
        choices: neurons by name.
        jobs: number of processes.
        executor: where neurons are validated: a name of `sandbox.executors.EXECUTORS`, "local" by default, or an
            executor. Any but "local" gets a folder in the current one, which its hosts must see.
        equation: that they are said to be, where they are steps.
        settings: those of `sandbox.validate`.

    Raises:
        ValueError: for `jobs` below 1, and for a neuron whose validation raised an exception.
    """
    where, here = executors.make(executor, jobs), executor == "local"
    if here and (jobs == 1 or len(choices) == 1):
        return {name: validated(choice, equation, **settings) for name, choice in choices.items()}
    with tempfile.TemporaryDirectory(prefix="validation-", dir=None if here else Path.cwd()) as place:
        started = {
            name: Validation(choice, settings, Path(place) / str(number), equation)
            for number, (name, choice) in enumerate(choices.items())
        }
        # the neurons at the end of the library take longest, so they start first
        errors = run_all([*reversed(started.values())], where, lambda done, total: None, Path(place))
        for name, job in started.items():
            if job.folder in errors:
                raise ValueError(f"{name} cannot be validated: {errors[job.folder]}")
            find("neuron", name)  # imports the module of a class in the report
        return {name: pickle.loads((job.folder / REPORT).read_bytes()) for name, job in started.items()}
