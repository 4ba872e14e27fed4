"""Equal tuning: the same number of trials for every rule, over the space that it declares, on validation data.

A study is one rule on one task. It runs its trials one after the other, each with a generator seeded by rule and trial;
studies run in parallel. The result therefore depends neither on the number of processes, nor on their order, nor on
interruptions: an interrupted trial does not count and is repeated with the same seed. Equal bits on other machines or
versions of Optuna are not guaranteed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rules.fields import check_fields
from sandbox import executors
from sandbox.comparisons.admission import Unfit, unfit
from sandbox.comparisons.comparison import BASELINE, Comparison, Progress, check_names, with_arrays
from sandbox.comparisons.grid import Grid
from sandbox.config.experiment import RuleConfig
from sandbox.config.identity import changed, fingerprint, folder_name
from sandbox.config.names import study_name
from sandbox.config.registry import sources
from sandbox.executors.base import Executor, run_all
from sandbox.machine import files
from sandbox.machine.plain_yaml import dump_yaml
from sandbox.runs import folder as folders
from sandbox.runs.arrays import keep
from sandbox.runs.book import RunFailed
from sandbox.runs.seal import write_sealed
from sandbox.tuning import storage as storages
from sandbox.tuning.study import FIRST_SEED, RANDOM, STUDIES, TUNED, Study, having, optuna_, quiet, summary, tunable

MOST = 100_000  # trials of a rule, and runs of a trial


@dataclass(frozen=True)
class Tuning:
    """A budget of tuning.

    Args:
        grid: the comparisons to tune.
        trials: for each rule on each task, 20 by default.
        seeds: runs over which a trial is averaged, 1 by default.

    Raises:
        ValueError: trials or seeds is below 1.
    """

    grid: Grid
    trials: int = 20
    seeds: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("trials", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
            if getattr(self, name) > MOST:
                raise ValueError(f"{name}={getattr(self, name)}: give at most {MOST}")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return folder_name(f"tune-{self.grid.name}", fingerprint(self))

    def studies(self, folder: Path, data_dir: str | None = None, storage: str = storages.SQLITE) -> list[Study]:
        """Return a study for each rule of each comparison; raise ValueError for a rule without a search space."""
        return [
            Study(study_name(comparison.identity, label), first, self.trials, self.seeds, folder, data_dir, storage)
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
    executor: str | Executor = "local",
    storage: str | None = None,
) -> dict[str, Any]:
    """Spend the budget of every rule, or what an earlier attempt left of it.

    The folder gets Optuna's storage, `tuning.json` (budget, every trial, best so far) and `tuned.yaml`, the given
    comparisons with the best options filled in. The test split is emptied before anything learns. Neither executor nor
    storage changes a result.

    Args:
        tuning: comparisons and budget.
        folder: of the results; an existing one is resumed.
        jobs: processes, 2 by default.
        data_dir: of downloaded data; None for the default folder.
        progress: called with the numbers of finished and of all trials.
        skip_unfit: whether to leave out rules that cannot learn on a task; False by default.
        executor: where rules are tuned: a name of `sandbox.executors.EXECUTORS`, "local" by default, or an executor.
        storage: where trials are kept: "sqlite" (`tuning.sqlite`, the default on one host), "journal"
            (`tuning.journal`, the default where several hosts tune), or the URL of a database that Optuna can use.

    Returns:
        The content of `tuning.json`.

    Raises:
        ValueError: before the first trial, for a rule without a search space, with rules that cannot learn here, or for
            SQLite on a network file system.
        ImportError: Optuna is not installed, or what the executor needs.
        FolderInUse: another process works in the folder.
        RunFailed: a study failed; raised after all others are done.
    """
    where = executors.make(executor, jobs)
    optuna = optuna_()
    comparisons = [with_arrays(each, folder) for each in tuning.grid.comparisons]
    tuning = replace(tuning, grid=replace(tuning.grid, comparisons=comparisons))
    for comparison in comparisons:
        check_names(comparison)
    storage = storages.chosen(storage, folder, executor != "local")
    studies = tuning.studies(folder, data_dir, storage)
    files.require_inside(folder, [study.folder for study in studies])
    with folders.locked(folder), quiet():
        folders.write_config(folder, "tuning", asdict(tuning))
        for comparison in comparisons:
            keep(comparison.experiment, folder)
        left_out, measures = _admitted(tuning, data_dir, skip_unfit)
        studies = [study for study in studies if study.name not in left_out]
        storages.keep(storage, folder)
        kept = storages.opened(storage, folder)
        for study in studies:
            optuna.create_study(study_name=study.stored, storage=kept, direction="maximize", load_if_exists=True)
        (folder / STUDIES).mkdir(exist_ok=True)
        errors = run_all(studies, where, progress or (lambda done, total: None), folder)
        if errors:
            lines = "\n".join(f"  {place.relative_to(folder)}: {message}" for place, message in errors.items())
            raise RunFailed(
                f"{len(errors)} of {len(studies)} rules could not be tuned; trials are kept in {folder}:\n{lines}"
            )
        found = {study.name: summary(optuna.load_study(study_name=study.stored, storage=kept)) for study in studies}
        facts = {
            "budget": {"trials": tuning.trials, "seeds": tuning.seeds, "first_seed": FIRST_SEED, "random": RANDOM},
            "revision": folders.revision(),
            "tasks": {each.identity: each.experiment.task.name for each in tuning.grid.comparisons},
            "measures": measures,
            "unfit": left_out,
            "studies": found,
        }
        files.write_atomically(folder / "tuned.yaml", as_yaml(tuned(tuning.grid, found), tuning))
        made_with = folders.provenance("see the tasks", sources(asdict(tuning)))
        write_sealed(folder, {"provenance.json": made_with, "tuning.json": facts})
    return facts


def _admitted(tuning: Tuning, data_dir: str | None, skip: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return why rules cannot learn, by study, and what each comparison is judged by.

    Refuse such rules, in one error for all comparisons, unless `skip`.
    """
    found, measures, refused = {}, {}, []
    for comparison in tuning.grid.comparisons:
        plans = {label: first for label, (first, *_) in comparison.experiments().items()}
        data = tunable(comparison.experiment.load(data_dir, TUNED))
        measures[comparison.identity] = data.measure
        reasons = unfit(plans, data)
        if reasons and (not skip or BASELINE in reasons):
            others = [label for label in plans if label not in reasons]
            refused.append(str(Unfit(comparison.experiment.task.name, reasons, others)))
        found.update({study_name(comparison.identity, label): why for label, why in reasons.items()})
    if refused:
        raise ValueError("\n".join(refused))
    return found, measures


def _plain(comparison: Comparison) -> dict[str, Any]:
    """Return the settings of a comparison that are not defaults, with every rule by its name."""
    given = [RuleConfig(rule) if isinstance(rule, str) else rule for rule in comparison.rules]
    rules = [{"name": rule.name, **changed(rule)} for rule in given]
    return {**changed(comparison), "rules": rules}


def tuned(grid: Grid, found: Mapping[str, dict[str, Any]]) -> Grid:
    """Return the grid with the best options of every tuned rule."""
    comparisons = []
    for comparison in grid.comparisons:
        labels = list(comparison.experiments())
        given = [RuleConfig(rule) if isinstance(rule, str) else rule for rule in comparison.rules]
        given += [RuleConfig(labels[-1])] * (len(labels) - len(given))  # the baseline that is always there
        best = [
            having(rule, found[study_name(comparison.identity, label)]["best"]["options"])
            for rule, label in zip(given, labels, strict=True)
            if study_name(comparison.identity, label) in found
        ]
        comparisons.append(replace(comparison, rules=list(best)))
    return replace(grid, comparisons=comparisons)


def as_yaml(grid: Grid, tuning: Tuning) -> str:
    """Write the comparison or grid as YAML, with the budget in a comment on the first line."""
    plain = [_plain(comparison) for comparison in grid.comparisons]
    alone = len(plain) == 1
    body = plain[0] if alone else {"name": grid.name, "comparisons": plain}
    budget = f"{tuning.trials} trials per rule, each with {tuning.seeds} seed(s)"
    made = f"# Tuned by `sandbox tune` on validation data: {budget}.\n"
    return made + dump_yaml(body, default_flow_style=None, width=120)
