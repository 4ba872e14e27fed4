"""The trials of one rule on one task, run one after the other by Optuna on validation data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from rules import NonFinite
from rules.spaces import Range, Space, space_of
from sandbox.config.experiment import Experiment
from sandbox.config.identity import fingerprint, folder_name
from sandbox.config.registry import find
from sandbox.executors.base import Progress, free
from sandbox.measures import score
from sandbox.runs import folder as folders
from sandbox.runs.arrays import attached
from sandbox.runs.folder import PATIENCE
from sandbox.runs.job import imports
from sandbox.runs.preparing import evaluation, own_process, prepare
from sandbox.tasks.base import Dataset
from sandbox.tuning.storage import FILES, SQLITE, opened

STUDIES = "studies"  # in the folder of a tuning: the folders of their locks
FIRST_SEED = 1000  # of tuning; no comparison here uses these seeds
RANDOM = 4  # random trials before the sampler uses earlier results
TUNED = ("train", "validation")  # the splits that tuning looks at


@dataclass(frozen=True)
class Study:
    """The trials of one rule on one task: work for one process."""

    alone: ClassVar[bool] = True  # hundreds of trials: a process of its own costs nothing beside them

    name: str
    experiment: Experiment
    trials: int
    seeds: int
    root: Path
    data_dir: str | None = None
    storage: str = SQLITE  # `sqlite`, `journal` or the URL of a database

    def __post_init__(self) -> None:
        _ = self.space

    @property
    def preload(self) -> tuple[str, ...]:
        """What its trials import."""
        return imports(self.experiment)

    @property
    def folder(self) -> Path:
        """The folder of its lock."""
        return self.root / STUDIES / folder_name(self.name, fingerprint(self.name))

    @property
    def stored(self) -> str:
        """Its name in the storage; a database may have studies of other tunings, too."""
        return self.name if self.storage in FILES else f"{self.root.resolve().name}/{self.name}"

    @property
    def space(self) -> Space:
        """The search space that its rule declares."""
        name = self.experiment.rule.name
        return space_of(name, find("rule", name))

    @property
    def has_result(self) -> bool:
        """Say that it has none: the trials themselves know how many are done."""
        return False

    def noted(self, state: str) -> None:
        """Do nothing: trials are in no index."""

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        """Run trials until the budget is spent; trials in which an earlier process was killed are repeated."""
        optuna = optuna_()
        with folders.locked(self.folder, PATIENCE, parents=False), quiet():
            study = optuna.load_study(study_name=self.stored, storage=opened(self.storage, self.root))
            fence()
            finished = _abandon(study, optuna)
            data = tunable(attached(self.experiment, self.root).load(self.data_dir, TUNED))
            progress(finished, self.trials)
            while finished < self.trials:
                study.sampler = optuna.samplers.TPESampler(seed=self.proposal_seed(finished), n_startup_trials=RANDOM)
                trial = study.ask()
                options = {name: _suggest(trial, name, found) for name, found in self.space.items()}
                values = [validated(e, data) for e in self.runs(options)]
                fence()
                study.tell(trial, sum(values) / len(values))
                finished += 1
                progress(finished, self.trials)

    def runs(self, options: Mapping[str, Any]) -> list[Experiment]:
        """Return the runs of a trial, one for each seed."""
        rule = self.experiment.rule.having(options)
        return [replace(self.experiment, rule=rule, seed=FIRST_SEED + n) for n in range(self.seeds)]

    def proposal_seed(self, trial: int) -> int:
        """Return the sampler's seed for a trial, which depends on nothing but the study's name and the trial."""
        return int(fingerprint([self.name, trial]), 16)


def tunable(data: Dataset) -> Dataset:
    """Return the data with an empty test split, so that tuning cannot use it."""
    return data._replace(test=data.train.first(0))


def validated(experiment: Experiment, data: Dataset) -> float:
    """Learn, and return the measure of the validation samples in percent: that by which models are selected.

    Where learning diverges it is 0, and -100, the least that is told apart, for R2, which has no lower bound.
    """
    worst = -1.0 if data.measure == "r2" else 0.0
    with warnings.catch_warnings(), own_process(experiment):
        warnings.simplefilter("ignore")
        trainer, train = prepare(experiment, data)
        try:
            for _ in trainer.fit(train, experiment.epochs):
                pass
            found = score(trainer.evaluate(evaluation(experiment, data.validation, "validation")))
            return 100 * (worst if math.isnan(found) else max(found, worst))
        except (NonFinite, ValueError):
            if trainer.steps == 0:  # not divergence, but a mistake in the configuration
                raise
            return 100 * worst


def summary(study: Any) -> dict[str, Any]:
    """Return every complete trial in order, the best one, and the best validation so far."""
    trials = [
        {"options": trial.params, "validation": trial.value}
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name == "COMPLETE"
    ]
    # Of equal trials the first counts.
    best = max(range(len(trials)), key=lambda i: (trials[i]["validation"], -i))
    so_far = [max(trial["validation"] for trial in trials[: n + 1]) for n in range(len(trials))]
    return {"trials": trials, "best": {"trial": best, **trials[best]}, "best_so_far": so_far}


def _abandon(study: Any, optuna: Any) -> int:
    """Mark trials without a result as failed; return the number of complete trials."""
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if not trial.state.is_finished():
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return sum(trial.state.name == "COMPLETE" for trial in trials)


def _suggest(trial: Any, name: str, found: Any) -> Any:
    """Let Optuna choose the value of one option."""
    if isinstance(found, Range):
        return trial.suggest_float(name, found.low, found.high, log=found.log)
    return trial.suggest_categorical(name, list(found.values))


def optuna_() -> Any:
    """Import Optuna, which is an optional extra; raise ImportError with the command to install it."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "this needs Optuna, which is not installed: pip install 'learning-rule-sandbox[tune]'"
        ) from error
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log, which repeats the progress bar."""
    optuna = optuna_()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
