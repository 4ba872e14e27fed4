"""Rules x seeds on the same data from the same weights, and the table that says what can be told apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import folder as folders
from sandbox.config import Experiment, RuleConfig, fingerprint
from sandbox.experiment import RunFailed
from sandbox.statistics import Interval, interval
from sandbox.tasks.base import Dataset
from sandbox.workers import Job, run_all

BASELINE = "readout_only"


@dataclass(frozen=True)
class Comparison:
    """Which rules to compare, on what, with how many paired seeds; `readout_only` is always among them.

    The default is the comparison of `experiments/yinyang.yaml`.
    """

    experiment: Experiment = field(default_factory=Experiment)
    rules: list[RuleConfig | str] = field(
        default_factory=lambda: [RuleConfig("bptt", {"lr": 0.04}), RuleConfig(BASELINE, {"lr": 0.02})]
    )
    seeds: int = 5

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}: give at least 1, and 5 or more for an interval worth printing")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return f"compare-{self.experiment.task.name}-{fingerprint(self)}".replace(":", ".")

    def experiments(self) -> dict[str, list[Experiment]]:
        """The runs of each rule, seed by seed, by its label or name; two of one name are told apart by a number."""
        rules = [RuleConfig(rule) if isinstance(rule, str) else rule for rule in self.rules]
        if BASELINE not in {rule.name for rule in rules}:
            rules.append(RuleConfig(BASELINE))
        labels: dict[str, RuleConfig] = {}
        for rule in rules:
            if rule in labels.values():
                raise ValueError(f"rule {rule.name!r} is listed twice with the same options; give each once")
            name = rule.label if rule.label and rule.name != BASELINE else rule.name
            count = sum(label == name or label.startswith(f"{name}#") for label in labels)
            labels[name if count == 0 else f"{name}#{count + 1}"] = rule
        first = self.experiment.seed
        return {
            label: [
                replace(
                    self.experiment,
                    rule=replace(rule, epochs=None, label=None),
                    seed=first + n,
                    epochs=self.experiment.epochs if rule.epochs is None else rule.epochs,
                )
                for n in range(self.seeds)
            ]
            for label, rule in labels.items()
        }


def compare(comparison: Comparison, folder: Path, *, jobs: int = 2, data_dir: str | None = None,
            progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:  # fmt: skip
    """Run every rule with every seed and write `table.json`; continues where an earlier attempt was stopped.

    Returns the table. Raises ValueError for anything misspelt before the first run begins, and RunFailed, after all
    others are done, for runs that failed.
    """
    plans = comparison.experiments()
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: give the number of processes, at least 1")
    for experiments in plans.values():
        experiments[0].rule.make()
    data = comparison.experiment.make_task().load(data_dir)
    with folders.locked(folder):
        folders.write_config(folder, "comparison", asdict(comparison))
        places = {label: [folder / e.identity for e in experiments] for label, experiments in plans.items()}
        work = [
            Job(experiment, place, data_dir)
            for label, experiments in plans.items()
            for experiment, place in zip(experiments, places[label], strict=True)
        ]
        errors = run_all(work, jobs, progress or (lambda done, total: None))
        if errors:
            lines = "\n".join(f"  {place.name}: {message}" for place, message in errors.items())
            raise RunFailed(f"{len(errors)} of {len(work)} runs failed; the others are kept in {folder}:\n{lines}")
        results = {label: [folders.read_json(p / "result.json") for p in found] for label, found in places.items()}
        table = make_table(comparison, results, data)
        folders.write_json(folder / "table.json", table)
        folders.write_json(folder / "provenance.json", folders.provenance(data.checksum))
    return table


def make_table(comparison: Comparison, results: dict[str, list[dict[str, Any]]], data: Dataset) -> dict[str, Any]:
    """What the runs say: accuracies in percent, their intervals, differences to the baseline, and costs."""
    reference = [100 * result["test"]["accuracy"] for result in results[BASELINE]]
    rows = []
    for label, found in results.items():
        accuracy = [100 * result["test"]["accuracy"] for result in found]
        rows.append(
            {
                "rule": label,
                "seeds": len(found),
                "accuracies": accuracy,
                "accuracy": _plain(interval(accuracy)),
                "validation": _plain(interval([100 * result["validation"]["accuracy"] for result in found])),
                "gap": _plain(interval([100 * (r["train"]["accuracy"] - r["test"]["accuracy"]) for r in found])),
                "asked": {
                    mode: _plain(interval([100 * r["test"][f"accuracy_{mode}"] for r in found]))
                    for mode in modes(found[0])
                },
                "over_baseline": None
                if label == BASELINE
                else _plain(interval([a - b for a, b in zip(accuracy, reference, strict=True)])),
                "parameters_trained": found[0]["parameters_trained"],
                "cost": {key: float(np.mean([r["cost"][key] for r in found])) for key in found[0]["cost"]},
                "health": sorted({line for result in found for line in result["health"]}),
            }
        )
    return {
        "task": comparison.experiment.task.name,
        "baseline": BASELINE,
        "linear": linear_baseline(data),
        "rows": rows,
    }


def modes(result: dict[str, Any]) -> list[str]:
    """The ways in which a model was asked beside the first, which `accuracy` speaks of."""
    found = (key.removeprefix("accuracy_") for key in result["test"] if key.startswith("accuracy_"))
    return [mode for mode in found if not mode.startswith("at_")]


def linear_baseline(data: Dataset) -> float:
    """Test accuracy in percent of a logistic regression on the same raw input, fitted to the training set alone."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-3))
    model.fit(data.train.x.flatten(1).numpy(), data.train.y.numpy())
    return 100 * float(model.score(data.test.x.flatten(1).numpy(), data.test.y.numpy()))


def format_table(table: dict[str, Any]) -> str:
    """The table as text."""
    head = ("rule", "test accuracy % [95 %]", f"over {table['baseline']}", "seeds", "trained", "synaptic ops")
    lines = [head]
    for row in table["rows"]:
        lines.append(
            (
                row["rule"],
                str(as_interval(row["accuracy"])),
                "-" if row["over_baseline"] is None else str(as_interval(row["over_baseline"])),
                str(row["seeds"]),
                str(row["parameters_trained"]),
                f"{row['cost']['synaptic_operations']:.3g}",
            )
        )
    lines.append(("linear classifier", f"{table['linear']:.2f}", "-", "-", "-", "-"))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def as_interval(numbers: list[float | None]) -> Interval:
    """An interval from its JSON form, in which NaN is null."""
    return Interval(*(math.nan if number is None else number for number in numbers))


def _plain(interval: Interval) -> list[float | None]:
    return [None if math.isnan(number) else number for number in interval]
