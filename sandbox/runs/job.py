"""A run as a job for an executor."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandbox.config.experiment import Experiment
from sandbox.config.registry import sources
from sandbox.executors.base import Executor, Progress, free, run_all
from sandbox.machine import files
from sandbox.runs import index
from sandbox.runs.book import RunFailed
from sandbox.runs.folder import PATIENCE
from sandbox.runs.run import run
from sandbox.tasks import TASKS

KERNELS = ("sympy.tensor.tensor", "sandbox.kernels.preloaded")  # the first with what sympy imports late


def imports(experiment: Experiment) -> tuple[str, ...]:
    """Return the modules that a run imports, late ones included; those of a library that is not here are passed over.

    >>> imports(Experiment(kernels="plain"))
    ('sandbox.runs.run',)
    """
    task = TASKS.get(experiment.task.name)
    asked = experiment.kernels if experiment.kernels != "auto" else os.environ.get("SANDBOX_KERNELS")
    kernels = () if asked == "plain" else KERNELS
    return ("sandbox.runs.run", *kernels, *(() if task is None else task.imports))


@dataclass(frozen=True)
class Job:
    """A run and its folder."""

    experiment: Experiment
    folder: Path
    data_dir: str | None = None
    track: tuple[str, ...] = ()  # names of trackers
    accept: bool = False  # whether to go on where code, data or kernels have changed

    @property
    def preload(self) -> tuple[str, ...]:
        """What this run imports."""
        return imports(self.experiment)

    @property
    def alone(self) -> bool:
        """Whether the configuration names code of the user's own."""
        return bool(sources(asdict(self.experiment)))

    @property
    def has_result(self) -> bool:
        """Whether the run is finished."""
        return (self.folder / "result.json").exists()

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        """Run the experiment."""
        run(
            self.experiment,
            self.folder,
            data_dir=self.data_dir,
            progress=progress,
            patience=PATIENCE,
            trackers=self.track,
            accept_changes=self.accept,
            fence=fence,
            indexed=False,
            parents=False,
        )

    def noted(self, state: str) -> None:
        """Record in the index that the run has begun, or how it ended."""
        if state != "waiting":
            test = files.read_json(self.folder / "result.json")["test"] if state == "done" else None
            index.record(self.folder, self.experiment, state, test)


def run_elsewhere(job: Job, executor: Executor, progress: Progress) -> dict[str, Any]:
    """Make one run by an executor; return its result, or raise RunFailed with the error."""
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    errors = run_all([job], executor, progress, job.folder)
    if errors:
        raise RunFailed(f"{job.folder} failed: {errors[job.folder]}")
    found: dict[str, Any] = files.read_json(job.folder / "result.json")
    return found
