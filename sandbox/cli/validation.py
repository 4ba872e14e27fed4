"""`sandbox validate`: many neurons against Brian2, each as a job for the executor."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from sandbox.config.registry import Choice
from sandbox.executors.local import run_all
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

    def work(self, progress: Callable[[int, int], None]) -> None:
        """Validate on one thread."""
        import torch

        torch.set_num_threads(1)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / REPORT).write_bytes(pickle.dumps(validate(self.neuron.make("neuron"), **self.settings)))
        progress(1, 1)

    def failed(self) -> None:
        """Do nothing: the index of runs has no validations."""


def validate_all(choices: Mapping[str, Choice], jobs: int = 2, **settings: Any) -> dict[str, ConformanceReport]:
    """Return the report of each neuron, by name.

    Args:
        choices: neurons by name.
        jobs: number of processes.
        settings: those of `sandbox.validate`.

    Raises:
        ValueError: for `jobs` below 1, and for a neuron whose validation raised an exception.
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: give a whole number, at least 1")
    if jobs == 1 or len(choices) == 1:
        return {name: validate(choice.make("neuron"), **settings) for name, choice in choices.items()}
    with tempfile.TemporaryDirectory() as place:
        started = {
            name: Validation(choice, settings, Path(place) / str(number))
            for number, (name, choice) in enumerate(choices.items())
        }
        # the neurons at the end of the library take longest, so they start first
        errors = run_all([*reversed(started.values())], jobs, lambda done, total: None)
        for name, job in started.items():
            if job.folder in errors:
                raise ValueError(f"{name} cannot be validated: {errors[job.folder]}")
        return {name: pickle.loads((job.folder / REPORT).read_bytes()) for name, job in started.items()}
