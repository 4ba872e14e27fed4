"""What is tuned with which budget: the settings of a tuning, from which its searches follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rules.errors import unknown
from rules.fields import check_fields
from sandbox.comparisons.grid import Grid, grid_from
from sandbox.config.identity import fingerprint, folder_name
from sandbox.machine.text import command
from sandbox.runs import folder as folders
from sandbox.tuning import storage as storages
from sandbox.tuning.sampling import SAMPLERS
from sandbox.tuning.study import Study

MOST = 100_000  # trials of a rule, and runs of a trial


@dataclass(frozen=True)
class Tuning:
    """A budget of tuning, the same for each rule on each task.

    Args:
        grid: the comparisons to tune.
        trials: of each search, 20 by default.
        seeds: runs over which a trial is averaged, 1 by default.
        searches: independent searches, 3 by default; a comparison of what they find has the error of tuning in its
            intervals if there are at least 2.
        sampler: "tpe", by default, "random", or "stratified", for few trials (`sandbox.tuning.sampling.stratum`).

    Raises:
        ValueError: for trials, seeds or searches below 1, an unknown sampler, and rules that were searched already.
    """

    grid: Grid
    trials: int = 20
    seeds: int = 1
    searches: int = 3
    sampler: str = "tpe"

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("trials", "seeds", "searches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number, at least 1")
            if getattr(self, name) > MOST:
                raise ValueError(f"{name}={getattr(self, name)}: give at most {MOST}")
        if self.sampler not in SAMPLERS:
            raise unknown("sampler", self.sampler, SAMPLERS)
        if any(rule.searched for each in self.grid.comparisons for rule in each.configs):
            raise ValueError("the rules of this grid were searched already: tune `sandbox.tuning.plan.fresh(grid)`")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return folder_name(f"tune-{self.grid.name}", fingerprint(self))

    def studies(self, folder: Path, data_dir: str | None = None, storage: str = storages.SQLITE) -> list[Study]:
        """Return a study for each search of each rule; raise ValueError for a rule without a search space."""
        return [
            Study(
                f"{comparison.identity}/{label}/{search}",
                first,
                self.trials,
                self.seeds,
                folder,
                data_dir,
                storage,
                search,
                self.sampler,
            )
            for comparison in self.grid.comparisons
            for label, (first, *_) in comparison.experiments().items()
            for search in range(self.searches)
        ]


def fresh(grid: Grid) -> Grid:
    """Return a grid without what earlier searches found, so that it can be tuned again.

    >>> from sandbox.comparisons.comparison import BASELINE, Comparison
    >>> from sandbox.config.rule import RuleConfig, Search
    >>> found = [RuleConfig(name, searched=[Search({"lr": 0.1}, {"lr": [0.01, 1.0]})]) for name in ("bptt", BASELINE)]
    >>> [rule.searched for rule in fresh(Grid([Comparison(rules=found)])).comparisons[0].rules]
    [[], []]
    """
    comparisons = [
        replace(each, rules=[rule if isinstance(rule, str) else replace(rule, searched=[]) for rule in each.rules])
        for each in grid.comparisons
    ]
    return replace(grid, comparisons=comparisons)


def begun(folder: Path) -> Tuning:
    """Return the tuning that a folder was begun with.

    Raises:
        ValueError: for one of an earlier version, whose searches had fixed ranges and one validation set.
    """
    content = folders.read_config(folder, "tuning")
    if "searches" not in content:
        raise ValueError(
            f"{folder} was tuned by an earlier version, with one search of each rule in ranges that could not grow: "
            f"`{command('report', folder)}` shows it; to go on, tune again"
        )
    budget = {name: content[name] for name in ("trials", "seeds", "searches", "sampler")}
    return Tuning(grid_from(content["grid"]), **budget)
