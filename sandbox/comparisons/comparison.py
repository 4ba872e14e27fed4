"""Run rules x seeds on the same data from the same weights, in a folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from rules.fields import check_fields
from sandbox import executors
from sandbox.comparisons.admission import Unfit, unfit
from sandbox.comparisons.coinciding import coinciding
from sandbox.comparisons.condition import damage, require_names
from sandbox.comparisons.linear import import_linear, linear_baseline, made_of, scale_beside
from sandbox.comparisons.references import published
from sandbox.comparisons.table import BASELINE, as_interval, format_table, make_table
from sandbox.comparisons.variants import require_variants, row_of
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.identity import fingerprint, folder_name
from sandbox.config.names import numbered
from sandbox.config.registry import made, sources
from sandbox.config.rule import FIRST_SEED, RuleConfig
from sandbox.executors.base import Executor, run_all
from sandbox.executors.pool import begin_imports
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs import index
from sandbox.runs.arrays import attached, keep
from sandbox.runs.attempts import mode_here
from sandbox.runs.book import RunFailed
from sandbox.runs.finished import (
    FinishedRun,
    finished,
    read_run,
    require_one_mode,
    require_one_revision,
    require_same_sources,
    sort_out,
    with_marks,
)
from sandbox.runs.folder import load
from sandbox.runs.job import Job, imports
from sandbox.runs.seal import write_sealed
from sandbox.tasks.base import Dataset

__all__ = ["BASELINE", "Comparison", "as_interval", "compare", "format_table", "linear_baseline", "make_table"]

MOST_SEEDS = 10_000  # of a rule; every one is a run
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Comparison:
    """Which rules to compare, on which experiment, with how many paired seeds.

    The default is the comparison of `experiments/yinyang.yaml`.

    Args:
        experiment: what all runs share; its `seed` is the first one.
        rules: rules by name or with options; the baseline `readout_only` is added if it is missing.
        seeds: number of seeds of each rule, 5 by default.

    Raises:
        ValueError: for fewer than one seed, for rules of different numbers of searches, which the baseline has too, and
            for seeds that tuning had.
    """

    experiment: Experiment = field(default_factory=Experiment)
    rules: list[RuleConfig | str] = field(
        default_factory=lambda: [RuleConfig("bptt", {"lr": 0.04}), RuleConfig(BASELINE, {"lr": 0.02})]
    )
    seeds: int = 5

    def __post_init__(self) -> None:
        check_fields(self)
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}: give at least 1, and 5 or more for an interval worth printing")
        if self.experiment.parent is not None:
            raise ValueError(
                "experiment.parent: the runs of a comparison begin anew; give a parent to each run, `sandbox run "
                "--parent.folder FOLDER`, or compare what `sandbox curriculum` made"
            )
        searches = {len(rule.searched) for rule in self.configs}
        if any(searches) and BASELINE not in {rule.name for rule in self.configs}:
            raise ValueError(
                f"rules were searched, and the baseline {BASELINE}, which is added, was not: list it with as many "
                "searches; `sandbox tune` writes it into tuned.yaml"
            )
        if len(searches) > 1:
            raise ValueError(
                f"rules of {sorted(searches)} searches: give each rule equally many, or none has an interval that "
                "includes the error of tuning"
            )
        if any(self.seeds % number for number in searches if number):
            raise ValueError(f"seeds={self.seeds} after {max(searches)} searches: give equally many seeds to each")
        if any(searches) and self.experiment.seed + self.seeds > FIRST_SEED:
            raise ValueError(
                f"seed={self.experiment.seed}, seeds={self.seeds}: tuning has the seeds from {FIRST_SEED} on, and "
                "what it found is compared on others; give smaller ones"
            )
        if self.seeds > MOST_SEEDS or self.experiment.seed + self.seeds > 2**63:
            raise ValueError(f"seeds={self.seeds}: give at most {MOST_SEEDS}, and none beyond 63 bits")

    @property
    def configs(self) -> list[RuleConfig]:
        """The rules as they are listed, each as a configuration."""
        return [RuleConfig(rule) if isinstance(rule, str) else rule for rule in self.rules]

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return folder_name(f"compare-{self.experiment.task.name}", fingerprint(self))

    def experiments(self) -> dict[str, list[Experiment]]:
        """Return the runs of each rule, seed by seed, by its label or name; equal names get a number."""
        rules = self.configs
        if BASELINE not in {rule.name for rule in rules}:
            rules.append(RuleConfig(BASELINE))
        labels: dict[str, RuleConfig] = {}
        rows: dict[str, list[RuleConfig]] = {}
        for rule in rules:
            if rule in labels.values():
                raise ValueError(
                    f"rule {rule.name!r} is listed twice with the same options; give each once, or a label"
                )
            name = rule.label if rule.label and rule.name != BASELINE else rule.name
            rows.setdefault(name, []).append(rule)
            name = name if rule.variant is None else f"{name} {rule.variant}"
            labels[numbered(name, labels)] = rule
        require_variants(rows, labels)
        first = self.experiment.seed
        found = {
            label: [
                replace(
                    self.experiment,
                    network=self._network(rule),
                    rule=replace(
                        rule.of_seed(n), epochs=None, readout=None, label=None if label == rule.name else label
                    ),
                    seed=first + n,
                    epochs=self.experiment.epochs if rule.epochs is None else rule.epochs,
                )
                for n in range(self.seeds)
            ]
            for label, rule in labels.items()
        }
        folders_: dict[str, str] = {}
        for label, (one, *_) in found.items():
            place = one.identity.casefold()  # some file systems do not tell capitals from small letters
            if place in folders_:
                raise ValueError(
                    f"labels {folders_[place]!r} and {label!r} would share the folder {one.identity}; rename one"
                )
            folders_[place] = label
        return found

    def _network(self, rule: RuleConfig) -> NetworkConfig:
        network = self.experiment.network
        return network if rule.readout is None else replace(network, readout=rule.readout)


def compare(
    comparison: Comparison,
    folder: Path | str,
    *,
    jobs: int = 2,
    data_dir: str | None = None,
    progress: Progress | None = None,
    skip_unfit: bool = False,
    mixed_revisions: bool = False,
    trackers: Sequence[str] = (),
    accept_changes: bool = False,
    executor: str | Executor = "local",
) -> dict[str, Any]:
    """Run every rule with every seed and write `table.json`; continue where an earlier attempt was stopped.

    Damaged run folders are not touched; while there are any, nothing is run and an earlier table stays as it is.

    Args:
        comparison: what to run.
        folder: where to run it; created if missing.
        jobs: number of processes, 2 by default.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        progress: called with the steps done and the total number of steps.
        skip_unfit: leave out rules that cannot learn on this model, instead of raising `Unfit`.
        mixed_revisions: mark runs of another code revision in the table, instead of raising ValueError.
        trackers: names of trackers.
        accept_changes: go on with runs whose data, own code or kernels have changed, and mark them in the table,
            instead of raising ValueError.
        executor: where the runs are made: a name of `sandbox.executors.EXECUTORS`, "local" by default, or an executor,
            such as `sandbox.executors.make("shared", 4, {"lease": 10.0})`. The results do not depend on it.

    Returns: the table.

    Raises:
        ValueError: before the first run, for a misspelt name, for rules that cannot learn on this model (`Unfit`), for
            finished runs of another code revision, and for runs that are damaged or whose folder has another name.
        ImportError: before the first run, for a tracker whose library is missing.
        RunFailed: after all others are done, for runs that failed or were damaged meanwhile.
    """
    folder = Path(folder)
    where = executors.make(executor, jobs)
    comparison = with_arrays(comparison, folder)
    check_names(comparison)
    made(trackers)
    files.require_inside(folder, run_folders(comparison, folder))
    start_imports(executor, {folder: comparison})
    with folders.locked(folder):
        planned = plan(comparison, folder, data_dir, skip_unfit, mixed_revisions, tuple(trackers), accept_changes)
        if planned.jobs:
            import_linear()  # while the workers' imports go on
        return planned.conclude(run_all(planned.jobs, where, progress or (lambda done, total: None), folder))


def start_imports(executor: str | Executor, plans: Mapping[Path, Comparison]) -> None:
    """Let the processes of this machine import what the runs need while they are planned, if any are still to do."""
    missing = [
        each
        for folder, comparison in plans.items()
        for found in comparison.experiments().values()
        for each in found
        if not (folder / each.identity / "result.json").exists()
    ]
    if executor == "local" and missing:
        begin_imports(name for each in missing for name in imports(each))


def run_folders(comparison: Comparison, folder: Path) -> list[Path]:
    """Return the folder of every run of a comparison in a folder."""
    return [folder / each.identity for found in comparison.experiments().values() for each in found]


class Planned(NamedTuple):
    """The runs of a comparison that are still to do, and what its table needs afterwards."""

    comparison: Comparison
    folder: Path
    data: Dataset
    places: dict[str, dict[int, Path]]
    jobs: list[Job]
    unfit: dict[str, str]
    mixed: bool
    accept: bool

    def conclude(self, errors: Mapping[Path, str]) -> dict[str, Any]:
        """Write and return the table; raise RunFailed if runs failed or are damaged."""
        mine = {job.folder: errors[job.folder] for job in self.jobs if job.folder in errors}
        if mine:
            lines = "\n".join(f"  {place.name}: {message}" for place, message in mine.items())
            whole = sum(map(len, self.places.values()))
            raise RunFailed(f"{len(mine)} of {whole} runs failed; the others are kept in {self.folder}:\n{lines}")
        self._require_results()
        sound = sort_out(self.places)
        if sound.damaged:
            raise RunFailed(damage(self.folder, sound.damaged))
        done = [run for found in sound.runs.values() for run in found]
        made = require_one_revision(done, self.mixed)
        code = sources(asdict(self.comparison))
        require_same_sources(done, self.data.checksum, code, self.accept)
        require_one_mode(done, self.accept)
        task = self.comparison.experiment.task.name
        runs = with_marks(sound.runs, self.data.checksum, code)
        rows = [run for found in runs.values() for run in found]
        scale = scale_beside(rows, task, self.data)
        firsts = {label: found[0] for label, found in self.comparison.experiments().items() if label in runs}
        trained = {label: found[0].result["parameters_trained"] for label, found in runs.items()}
        same = coinciding(firsts, self.data, trained)
        known = published(self.comparison.experiment)
        table = make_table(task, runs, scale, unfit=self.unfit, revisions=made, coincides=same, published=known)
        made_with = folders.provenance(self.data.checksum, code)
        others = made_of(rows) - {self.data.checksum}
        if others and scale.why is None:  # the linear model is that of the runs, whose data are no longer here
            made_with["linear_data_sha256"] = others.pop()
        write_sealed(self.folder, {"provenance.json": made_with, "table.json": table})
        return table

    def _require_results(self) -> None:
        """Raise RunFailed where the executor says that a run is done, and its result is not in its folder."""
        for job in self.jobs:
            if not (job.folder / "result.json").exists():
                raise RunFailed(
                    f"{job.folder.name} was done on another host, and its result is not in {self.folder}: use a "
                    "folder that all hosts see"
                )


def plan(
    comparison: Comparison,
    folder: Path,
    data_dir: str | None,
    skip_unfit: bool,
    mixed_revisions: bool,
    track: tuple[str, ...] = (),
    accept: bool = False,
) -> Planned:
    """Read the finished runs, raise for rules and runs that are not allowed, and list the jobs that remain."""
    data = comparison.experiment.load(data_dir)
    plans = comparison.experiments()
    require_names(folder, run_folders(comparison, folder))
    places = {label: {e.seed: folder / e.identity for e in found} for label, found in plans.items()}
    sound = sort_out(places)
    if sound.damaged:
        for experiment in (each for found in plans.values() for each in found if each.identity in sound.damaged):
            index.record(folder / experiment.identity, experiment, "damaged")
        raise ValueError(damage(folder, sound.damaged))
    begun = [run for found in sound.runs.values() for run in found]
    whole = sum(map(len, places.values()))
    require_same_sources(begun, data.checksum, sources(asdict(comparison)), accept)
    require_one_mode(begun, accept, None if len(begun) == whole else mode_here(comparison.experiment))
    require_one_revision(begun, mixed_revisions, None if len(begun) == whole else folders.revision())
    fresh = {label: found[0] for label, found in plans.items() if len(sound.runs[label]) < len(found)}
    reasons = unfit(fresh, data)
    baseline = next((label for label in reasons if plans[label][0].rule.row == BASELINE), None)
    if reasons and (not skip_unfit or baseline is not None):
        others = [label for label in plans if label not in reasons]
        raise Unfit(comparison.experiment.task.name, reasons, others, baseline)
    folders.write_config(folder, "comparison", asdict(comparison))
    keep(comparison.experiment, folder)
    finished = {run.folder: run.result["test"] for run in begun}
    jobs = []
    for label, found in plans.items():
        for experiment in found:
            place = places[label][experiment.seed]
            if place in finished:  # its worker may have been killed before it updated the index
                index.record(place, experiment, "done", finished[place])
            elif label not in reasons:
                jobs.append(Job(experiment, place, data_dir, track, accept))
    left = {label: found for label, found in places.items() if label not in reasons}
    return Planned(comparison, folder, data, left, jobs, reasons, mixed_revisions, accept)


def with_arrays(comparison: Comparison, folder: Path) -> Comparison:
    """Return a comparison with the arrays of its task, where they are kept in its folder (`sandbox.runs.arrays`)."""
    return replace(comparison, experiment=attached(comparison.experiment, folder))


def check_names(comparison: Comparison) -> None:
    """Raise ValueError for a misspelt name or option, before anything is written."""
    for experiments in comparison.experiments().values():
        experiments[0].check()


def compared_runs(folder: Path) -> list[FinishedRun]:
    """Return the runs of a comparison, rule by rule and seed by seed; raise ValueError if one is not finished."""
    comparison: Comparison = load(Comparison, folder)
    require_names(folder, run_folders(comparison, folder))
    table = finished(folder / "table.json", folder)
    seeds = table.get("seeds")  # without those of damaged runs
    kept, unfit = {row["rule"] for row in table["rows"]}, set(table.get("unfit", {}))
    return [
        read_run(folder / experiment.identity, label, experiment.seed, folder)
        for label, experiments in comparison.experiments().items()
        for experiment in experiments
        if row_of(label, experiment.rule.variant) in kept - unfit and label not in unfit
        if seeds is None or experiment.seed in seeds
    ]
