"""Equal tuning: the same number of trials for every rule, over the space that it declares, on validation data.

Each rule is searched several times on each task, because what one search finds is partly chance: each search has its
own seeds, proposals and validation samples. A study is one search. It runs its trials one after the other, each with a
generator seeded by study and trial; studies run in parallel. The result therefore depends neither on the number of
processes, nor on their order, nor on interruptions: an interrupted trial does not count and is repeated with the same
seed. Equal bits on other machines or versions of Optuna are not guaranteed.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rules.spaces import SPACES
from sandbox import executors
from sandbox.comparisons.admission import Unfit, unfit
from sandbox.comparisons.comparison import BASELINE, Progress, check_names, with_arrays
from sandbox.config.registry import sources
from sandbox.config.rule import FIRST_SEED
from sandbox.executors.base import Executor, run_all
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs.arrays import keep
from sandbox.runs.book import RunFailed
from sandbox.runs.seal import write_sealed
from sandbox.tuning import storage as storages
from sandbox.tuning.folds import foldable, require_dealable
from sandbox.tuning.plan import Tuning
from sandbox.tuning.sampling import RANDOM, optuna_, quiet
from sandbox.tuning.study import STUDIES, corners
from sandbox.tuning.trial import TUNED, tunable
from sandbox.tuning.tuned import as_yaml, tuned


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

    The folder gets Optuna's storage, `tuning.json` (budget, every trial with its cost, best so far) and `tuned.yaml`,
    the given comparisons with what each search found. Where the best trial lies near an end of a range, the range grows
    there for the next trials (`sandbox.tuning.ranges`). The test split is emptied before anything learns. Neither
    executor nor storage changes a result.

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
        studies = [study for study in studies if study.name.rpartition("/")[0] not in left_out]
        storages.keep(storage, folder)
        kept = storages.opened(storage, folder)
        for study in studies:
            optuna.create_study(study_name=study.stored, storage=kept, direction="maximize", load_if_exists=True)
        (folder / STUDIES).mkdir(exist_ok=True)
        errors = run_all(studies, where, progress or (lambda done, total: None), folder)
        if errors:
            lines = "\n".join(f"  {place.relative_to(folder)}: {message}" for place, message in errors.items())
            raise RunFailed(
                f"{len(errors)} of {len(studies)} searches did not end; trials are kept in {folder}:\n{lines}"
            )
        found = {
            study.name: study.summary(optuna.load_study(study_name=study.stored, storage=kept)) for study in studies
        }
        budget = {name: getattr(tuning, name) for name in ("trials", "seeds", "searches", "sampler")}
        facts = {
            "budget": {**budget, "first_seed": FIRST_SEED, "random": RANDOM},
            "revision": folders.revision(),
            "tasks": {each.identity: each.experiment.task.name for each in tuning.grid.comparisons},
            "measures": measures,
            "unfit": left_out,
            "studies": found,
        }
        settings = as_yaml(tuned(tuning, found), tuning)
        made_with = folders.provenance("see the tasks", sources(asdict(tuning)))
        write_sealed(folder, {"tuned.yaml": settings, "provenance.json": made_with, "tuning.json": facts})
    return facts


def _admitted(tuning: Tuning, data_dir: str | None, skip: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Return why rules cannot learn, by study, and what each comparison is judged by.

    Refuse such rules, in one error for all comparisons, unless `skip`.
    """
    found, measures, refused = {}, {}, []
    for comparison in tuning.grid.comparisons:
        plans = {label: first for label, (first, *_) in comparison.experiments().items()}
        data = tunable(comparison.experiment.load(data_dir, TUNED))
        if tuning.searches > 1 and foldable(comparison.experiment.make_task()):
            try:
                require_dealable(data)
            except ValueError as error:
                refused.append(f"task {comparison.experiment.task.name!r}: {error}")
        measures[comparison.identity] = data.measure
        reasons = unfit(plans, data)
        for label, first in plans.items():
            own = first.rule.name not in SPACES and label not in reasons  # spaces of named rules were tried by tests
            if own and (odd := unfit(corners(first), data)):
                where, why = next(iter(odd.items()))
                refused.append(
                    f"rule {label!r} does not take what its space has, {where}: {why}. Whole numbers and texts are a "
                    "choice, rules.spaces.Options((1, 2, 4))"
                )
        if reasons and (not skip or BASELINE in {plans[label].rule.row for label in reasons}):
            others = [label for label in plans if label not in reasons]
            refused.append(str(Unfit(comparison.experiment.task.name, reasons, others)))
        found.update({f"{comparison.identity}/{label}": why for label, why in reasons.items()})
    if refused:
        raise ValueError("\n".join(refused))
    return found, measures
