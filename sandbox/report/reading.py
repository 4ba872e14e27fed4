"""What a finished folder says, read back: a learning curve, a result and a wall time for every run in it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sandbox import folder as folders
from sandbox.compare import Comparison
from sandbox.microscope import Row, journal, read_rows
from sandbox.parse import load

AT = "accuracy_at_"


class FinishedRun(NamedTuple):
    """One run as its folder tells it."""

    rule: str  # its label in the table
    seed: int
    metrics: list[dict[str, Any]]  # a line an epoch, the first before learning
    result: dict[str, Any]
    measured: dict[str, float | None]  # what depends on the machine: wall `seconds`, `peak_bytes` of tensors
    test_evaluations: int  # how often the test set was looked at
    looks: tuple[Row, ...] = ()  # what a microscope saw; none without one

    @property
    def epochs(self) -> list[int]:
        """Epochs done at each line."""
        return [line["epoch"] for line in self.metrics]

    @property
    def accuracies(self) -> list[float]:
        """Validation accuracy at each line [%]."""
        return [percent(line["validation_accuracy"]) for line in self.metrics]

    @property
    def accuracy_at(self) -> dict[int, float]:
        """Test accuracy from the first k steps, by k [%]; empty where the run was tested at all its steps alone."""
        test = self.result["test"]
        steps = sorted(int(key.removeprefix(AT)) for key in test if key.startswith(AT))
        return {step: percent(test[f"{AT}{step}"]) for step in steps}


def percent(share: float | None) -> float:
    """NaN where a number is missing."""
    return math.nan if share is None else 100 * share


def by_rule(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """The runs of each rule, in the order of the runs."""
    return {rule: [run for run in runs if run.rule == rule] for rule in dict.fromkeys(run.rule for run in runs)}


def compared_runs(folder: Path) -> list[FinishedRun]:
    """The runs of a comparison, rule by rule and seed by seed; raises ValueError where one is not finished."""
    comparison: Comparison = load(Comparison, folder)
    seeds = finished(folder / "table.json", folder).get("seeds")  # without those of damaged runs
    kept = {row["rule"] for row in finished(folder / "table.json", folder)["rows"]}  # without those that do not fit
    return [
        read_run(folder / experiment.identity, label, experiment.seed, folder)
        for label, experiments in comparison.experiments().items()
        for experiment in experiments
        if label in kept and (seeds is None or experiment.seed in seeds)
    ]


def read_run(folder: Path, rule: str, seed: int, resumable: Path) -> FinishedRun:
    """One run's folder; raises ValueError that names the folder to resume where something is missing or cut off."""
    result = finished(folder / "result.json", resumable)
    timing = folder / "timing.json"
    timed = folders.read_json(timing) if timing.exists() else {}
    looks = finished(folder / "test.json", resumable)["evaluations"]
    path = folder / journal.NAME
    seen = tuple(read_rows(path)) if path.exists() else ()
    return FinishedRun(rule, seed, _lines(folder / "metrics.jsonl", resumable), result, timed, looks, seen)


def finished(path: Path, resumable: Path) -> Any:
    """The JSON that the end of a run or comparison leaves; raises ValueError where it is not there yet."""
    if not path.exists():
        raise ValueError(f"{path} does not exist yet; finish it with `sandbox resume {resumable}`")
    return folders.read_json(path)


def _lines(path: Path, resumable: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise ValueError(
            f"{path} does not exist, so there is no learning curve; remove {path.parent} and run "
            f"`sandbox resume {resumable}`, or run the experiment again"
        )
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is no readable JSON, line by line ({error}); remove {path.parent} and run "
            f"`sandbox resume {resumable}`, or run the experiment again"
        ) from error
    return lines
