"""One search of one rule on one task: trials, run one after the other by Optuna on validation data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rules.contract import Cost
from rules.spaces import Range, Space, space_with
from sandbox.comparisons.admission import unfit
from sandbox.config.experiment import Experiment
from sandbox.config.identity import fingerprint, folder_name
from sandbox.config.registry import find, sources
from sandbox.config.rule import FIRST_SEED, RuleConfig
from sandbox.executors.base import Progress, free
from sandbox.runs import folder as folders
from sandbox.runs.arrays import attached
from sandbox.runs.folder import PATIENCE
from sandbox.runs.job import imports
from sandbox.runs.preparing import loaded
from sandbox.tasks.base import Dataset
from sandbox.tuning import ranges
from sandbox.tuning.folds import foldable, folded
from sandbox.tuning.sampling import DRAWN, STRATIFIED, given, optuna_, quiet, stratum, suggested
from sandbox.tuning.storage import FILES, SQLITE, opened
from sandbox.tuning.summary import best_of, complete, summary
from sandbox.tuning.trial import TUNED, tunable, validated

LONG = 50  # runs of a study that has a process of its own
STUDIES = "studies"  # in the folder of a tuning: the folders of their locks


@dataclass(frozen=True)
class Study:
    """One search of one rule on one task: work for one process.

    Args:
        name: of the study in the tuning.
        experiment: a run of the rule, whose options are the fixed ones.
        trials: of the search.
        seeds: runs of a trial, each search with seeds of its own.
        root: folder of the tuning.
        data_dir: folder of the data sets.
        storage: `sqlite`, `journal` or the URL of a database.
        search: which of the searches of this rule, from 0; it has its own validation set (`sandbox.tuning.folds`).
        sampler: a name in `sandbox.tuning.sampling.SAMPLERS`.
    """

    name: str
    experiment: Experiment
    trials: int
    seeds: int
    root: Path
    data_dir: str | None = None
    storage: str = SQLITE
    search: int = 0
    sampler: str = "tpe"

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError(
                f"rule {self.experiment.rule.title!r} has no option to search: its own plasticity takes none of those "
                "that it declares; leave the rule out, or the plasticity"
            )

    @property
    def alone(self) -> bool:
        """Whether it names code of the user's own, or is so long that a process of its own costs nothing beside it."""
        return self.trials * self.seeds >= LONG or bool(sources(asdict(self.experiment)))

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
        """The search space of its rule and optimizer, without options that a plasticity of its own does not take."""
        return searchable(self.experiment.rule)

    @property
    def has_result(self) -> bool:
        """Say that it has none: the trials themselves know how many are done."""
        return False

    def noted(self, state: str) -> None:
        """Do nothing: trials are in no index."""

    def work(self, progress: Progress, fence: Callable[[], None] = free) -> None:
        """Run trials until the budget is spent; trials in which an earlier process was killed are repeated."""
        with folders.locked(self.folder, PATIENCE, parents=False), quiet():
            study = optuna_().load_study(study_name=self.stored, storage=opened(self.storage, self.root))
            fence()
            _abandon(study)
            done = complete(study)
            progress(len(done), self.trials)
            if len(done) >= self.trials:
                return
            data = self.load()
            while len(done) < self.trials:
                self._try(study, done, data, fence)
                done = complete(study)
                progress(len(done), self.trials)

    def load(self) -> Dataset:
        """Return the data of the search: the training and validation sets of its own, and no test set."""
        experiment = attached(self.experiment, self.root)
        data = tunable(loaded(experiment, self.data_dir, TUNED))
        return folded(data, self.search) if foldable(experiment.make_task()) else data

    def _try(self, study: Any, done: list[Any], data: Dataset, fence: Callable[[], None]) -> None:
        """Run the next trial; where a range has grown, a random one in what was added."""
        before, space = self._spaces(done, data)
        name = self.sampler if before == space else "random"
        if name == STRATIFIED:
            study.sampler = given(optuna_(), stratum(space, len(done), self.trials, self.order_seed))
        else:
            study.sampler = DRAWN[name](optuna_(), self.proposal_seed(len(done)))
        trial = study.ask()
        trial.set_user_attr("within", ranges.within(space))
        tried = [validated(each, data) for each in self.runs(suggested(trial, ranges.added(before, space)))]
        fence()
        cost = sum((each.cost for each in tried), Cost())
        trial.set_user_attr("operations", cost.operations)
        trial.set_user_attr("forwards", cost.forwards)
        study.tell(trial, sum(each.validation for each in tried) / len(tried))

    def _spaces(self, done: list[Any], data: Dataset) -> tuple[Space, Space]:
        """Return the search space of the last trial and that of the next one."""
        if not done:
            return self.space, self.space
        before = ranges.narrowed(self.space, done[-1].user_attrs["within"])
        if len(done) not in ranges.looks(self.trials):
            return before, before
        return before, ranges.grown(before, best_of(done).params, lambda options: self._admits(options, data))

    def _admits(self, options: Mapping[str, Any], data: Dataset) -> bool:
        """Return whether the rule with these options can take a step, whatever it comes to."""
        return not unfit({"": self.runs(options)[0]}, data)

    def runs(self, options: Mapping[str, Any]) -> list[Experiment]:
        """Return the runs of a trial, one for each seed."""
        rule, first = self.experiment.rule.having(options), FIRST_SEED + self.search * self.seeds
        return [replace(self.experiment, rule=rule, seed=first + n) for n in range(self.seeds)]

    def proposal_seed(self, trial: int) -> int:
        """Return the sampler's seed for a trial, which depends on nothing but the study's name and the trial."""
        return int(fingerprint([self.name, trial]), 16)

    @property
    def order_seed(self) -> int:
        """The seed of the order of a stratified search, which depends on nothing but the study's name."""
        return int(fingerprint([self.name, "order"]), 16)

    def summary(self, study: Any) -> dict[str, Any]:
        """Return what the search tried and found; see `sandbox.tuning.summary`."""
        return {"search": self.search, **summary(complete(study), self.space)}


def searchable(rule: RuleConfig) -> Space:
    """Return the search space of a rule and its optimizer, without what a plasticity of its own does not take."""
    declared = space_with(rule.name, find("rule", rule.name), rule.options)
    return {
        name: each
        for name, each in declared.items()
        if rule.having({name: each.ends[0]}) != rule.having({name: each.ends[-1]})
    }


def corners(experiment: Experiment) -> dict[str, Experiment]:
    """Return a run of a rule at the ends of each option that is searched, and inside of its range, by what it is."""
    return {
        f"{name}={value}": replace(experiment, rule=experiment.rule.having({name: value}))
        for name, each in searchable(experiment.rule).items()
        for value in (*each.ends, *([each.at(1 / 3)] if isinstance(each, Range) else []))
    }


def _abandon(study: Any) -> None:
    """Mark trials without a result as failed."""
    failed = optuna_().trial.TrialState.FAIL
    for trial in study.get_trials(deepcopy=False):
        if not trial.state.is_finished():
            study.tell(trial.number, state=failed)
