"""Equal tuning: the same number of trials for every rule, over the space that it declares, on validation data.

A study, one rule on one task, asks for its trials one after the other, and the dice of each are seeded by rule and
trial; studies run beside each other. So what is tried and found depends neither on the number of processes, nor on
which of them was first, nor on kills: an interrupted trial is asked for again, with the same dice, and does not count.
Equal bits across machines or versions of Optuna are not promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sandbox.comparisons.admission import Unfit, unfit
from sandbox.comparisons.comparison import BASELINE, Comparison, Progress, require_jobs
from sandbox.comparisons.grid import Grid
from sandbox.config.experiment import RuleConfig
from sandbox.config.identity import changed, fingerprint
from sandbox.executors.local import run_all
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs.book import RunFailed
from sandbox.tuning.study import FIRST_SEED, RANDOM, Study, having, optuna_, quiet, storage, told, tunable


@dataclass(frozen=True)
class Tuning:
    """Which comparisons to tune, with how many trials a rule, each the mean over so many seeds."""

    grid: Grid
    trials: int = 20
    seeds: int = 1

    def __post_init__(self) -> None:
        for name in ("trials", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return f"tune-{self.grid.name}-{fingerprint(self)}"

    def studies(self, folder: Path, data_dir: str | None = None) -> list[Study]:
        """One for each rule of each comparison; raises ValueError for a rule without a search space."""
        return [
            Study(f"{comparison.identity}/{label}", first, self.trials, self.seeds, folder, data_dir)
            for comparison in self.grid.comparisons
            for label, (first, *_) in comparison.experiments().items()
        ]


def tune(
    tuning: Tuning,
    folder: Path,
    *,
    jobs: int = 2,
    data_dir: str | None = None,
    progress: Progress | None = None,
    skip_unfit: bool = False,
) -> dict[str, Any]:
    """Spend the budget of every rule; continues where an earlier attempt was stopped.

    The folder gets Optuna's storage `tuning.sqlite`, `tuning.json` (budget, every trial, best so far) and `tuned.yaml`,
    what was given with the best options in it. The test split is emptied before anything learns. Returns what
    `tuning.json` holds. Before the first trial begins raises ValueError for a rule without a search space and for rules
    that cannot learn here, which it names (`skip_unfit` leaves them out); ImportError without Optuna, FolderInUse, and,
    after all others are done, RunFailed.
    """
    require_jobs(jobs)
    optuna = optuna_()
    studies = tuning.studies(folder, data_dir)
    with folders.locked(folder), quiet():
        folders.write_config(folder, "tuning", asdict(tuning))
        left_out = _unfit(tuning, data_dir, skip_unfit)
        studies = [study for study in studies if study.name not in left_out]
        kept = storage(folder)
        for study in studies:
            optuna.create_study(study_name=study.name, storage=kept, direction="maximize", load_if_exists=True)
        errors = run_all(studies, jobs, progress or (lambda done, total: None))
        if errors:
            lines = "\n".join(f"  {place.relative_to(folder)}: {message}" for place, message in errors.items())
            raise RunFailed(
                f"{len(errors)} of {len(studies)} rules could not be tuned; trials are kept in {folder}:\n{lines}"
            )
        found = {study.name: told(optuna.load_study(study_name=study.name, storage=kept)) for study in studies}
        facts = {
            "budget": {"trials": tuning.trials, "seeds": tuning.seeds, "first_seed": FIRST_SEED, "random": RANDOM},
            "revision": folders.revision(),
            "tasks": {each.identity: each.experiment.task.name for each in tuning.grid.comparisons},
            "unfit": left_out,
            "studies": found,
        }
        files.write_json(folder / "tuning.json", facts)
        files.write_atomically(folder / "tuned.yaml", as_yaml(tuned(tuning.grid, found), tuning))
        files.write_json(folder / "provenance.json", folders.provenance("see the tasks"))
    return facts


def _unfit(tuning: Tuning, data_dir: str | None, skip: bool) -> dict[str, str]:
    """Why a rule cannot learn, by the name of its study; refuses them, for all comparisons at once, unless skipped."""
    found, refused = {}, []
    for comparison in tuning.grid.comparisons:
        plans = {label: first for label, (first, *_) in comparison.experiments().items()}
        reasons = unfit(plans, tunable(comparison.experiment.make_task().load(data_dir)))
        if reasons and (not skip or BASELINE in reasons):
            others = [label for label in plans if label not in reasons]
            refused.append(str(Unfit(comparison.experiment.task.name, reasons, others)))
        found.update({f"{comparison.identity}/{label}": why for label, why in reasons.items()})
    if refused:
        raise ValueError("\n".join(refused))
    return found


def _plain(comparison: Comparison) -> dict[str, Any]:
    """What a comparison says beyond the defaults, every rule by its name."""
    given = [RuleConfig(rule) if isinstance(rule, str) else rule for rule in comparison.rules]
    rules = [{"name": rule.name, **changed(rule)} for rule in given]
    return {**changed(comparison), "rules": rules}


def tuned(grid: Grid, found: Mapping[str, dict[str, Any]]) -> Grid:
    """The grid with the best options of every rule that was tuned."""
    comparisons = []
    for comparison in grid.comparisons:
        labels = list(comparison.experiments())
        given = [RuleConfig(rule) if isinstance(rule, str) else rule for rule in comparison.rules]
        given += [RuleConfig(labels[-1])] * (len(labels) - len(given))  # the baseline that is always there
        best = [
            having(rule, found[f"{comparison.identity}/{label}"]["best"]["options"])
            for rule, label in zip(given, labels, strict=True)
            if f"{comparison.identity}/{label}" in found
        ]
        comparisons.append(replace(comparison, rules=list(best)))
    return replace(grid, comparisons=comparisons)


def as_yaml(grid: Grid, tuning: Tuning) -> str:
    """The comparison that was given, or the grid, with what made it in the first line."""
    plain = [_plain(comparison) for comparison in grid.comparisons]
    alone = len(plain) == 1
    body = plain[0] if alone else {"name": grid.name, "comparisons": plain}
    budget = f"{tuning.trials} trials a rule, each of {tuning.seeds} seed(s)"
    made = f"# Tuned by `sandbox tune` on validation data: {budget}.\n"
    return made + yaml.safe_dump(body, sort_keys=False, default_flow_style=None, width=120)
