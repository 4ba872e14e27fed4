"""Several comparisons in one folder: their runs share the same processes, and one ranking covers all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rules.errors import unknown
from rules.fields import check_fields
from sandbox import executors
from sandbox.comparisons.admission import Unfit
from sandbox.comparisons.comparison import (
    Comparison,
    Progress,
    check_names,
    plan,
    run_folders,
    start_imports,
    with_arrays,
)
from sandbox.comparisons.ranking import make_overall
from sandbox.config.identity import fingerprint, folder_name
from sandbox.config.names import fitting, require_label
from sandbox.config.reading import from_dict
from sandbox.config.registry import made, sources
from sandbox.executors.base import Executor, run_all
from sandbox.machine import files
from sandbox.machine.plain_yaml import read_yaml
from sandbox.runs import folder as folders
from sandbox.runs.book import RunFailed
from sandbox.runs.seal import write_sealed

PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class Grid:
    """Several comparisons under one name.

    Args:
        comparisons: at least one, all different.
        name: first part of the folder's name, "grid" by default.

    Raises:
        ValueError: for no comparison, for the same one twice, or for a name that cannot be part of a file name.
    """

    comparisons: list[Comparison]
    name: str = "grid"

    def __post_init__(self) -> None:
        check_fields(self)
        require_label("name", self.name)
        places = [comparison.identity for comparison in self.comparisons]
        if not places:
            raise ValueError("comparisons=[]: give at least one")
        if len(set(places)) < len(places):
            raise ValueError("a grid has the same comparison twice; give each once")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return folder_name(self.name, fingerprint(self))


def presets() -> dict[str, Path]:
    """Return the files of the grids that come with the project, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def read_grid(name: str) -> Grid:
    """Read a preset, or the grid or comparison in a YAML file.

    Args:
        name: of a preset, or path of a YAML file.

    Raises:
        ValueError: for an unknown name, or for a file that is neither a grid nor a comparison.
    """
    known = presets()
    path = known.get(name, Path(name))
    if not path.exists():
        raise unknown("preset", name, [*known, "path/to/grid.yaml"])
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no comparison: write `experiment`, `rules` and `seeds`, or `comparisons`")
    content.pop("executor", None)  # where its runs are made: `executor_of`
    if "comparisons" not in content:
        return Grid([from_dict(Comparison, content)], fitting(path.stem))
    return grid_from(content, fitting(path.stem))


def executor_of(name: str) -> Any:
    """Return what a preset, or the YAML file of a grid or comparison, says of its executor; None if it says nothing."""
    content = read_yaml(presets().get(name, Path(name)))
    return content.get("executor") if isinstance(content, dict) else None


def grid_from(content: Mapping[str, Any], name: str = "grid") -> Grid:
    """Build a grid from the content of a YAML file; raise ValueError for a misspelt key."""
    for key in content:
        if key not in ("name", "comparisons"):
            raise unknown("key of a grid", str(key), ["name", "comparisons"])
    grid: Grid = from_dict(Grid, {"name": name, **content})
    return grid


def run_grid(
    grid: Grid,
    folder: Path,
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
    """Run every comparison in a folder below `folder` and write `overall.json`; continue where it was stopped.

    Arguments and exceptions are those of `compare`. One error before the first run names everything that cannot be run,
    for all comparisons; RunFailed is raised at the end.

    Returns: the ranking over all tasks, with the table of each comparison under `tables`.
    """
    where = executors.make(executor, jobs)
    grid = replace(grid, comparisons=[with_arrays(each, folder / each.identity) for each in grid.comparisons])
    for comparison in grid.comparisons:
        check_names(comparison)
    made(trackers)
    for comparison in grid.comparisons:
        place = folder / comparison.identity
        files.require_inside(folder, [place, *run_folders(comparison, place)])
    start_imports(executor, {folder / each.identity: each for each in grid.comparisons})
    with folders.locked(folder), ExitStack() as held:
        folders.write_config(folder, "grid", asdict(grid))
        planned, refused = [], []
        for comparison in grid.comparisons:
            place = folder / comparison.identity
            held.enter_context(folders.locked(place))
            try:
                track = tuple(trackers)
                planned.append(plan(comparison, place, data_dir, skip_unfit, mixed_revisions, track, accept_changes))
            except Unfit as error:
                refused.append(str(error))
        if refused:
            raise ValueError("\n".join(refused))
        work = [job for each in planned for job in each.jobs]
        errors = run_all(work, where, progress or (lambda done, total: None), folder)
        tables, failed = {}, []
        for each in planned:
            try:
                tables[each.folder.name] = each.conclude(errors)
            except RunFailed as error:
                failed.append(str(error))
        if failed:
            raise RunFailed("\n".join(failed))
        overall = make_overall(tables)
        made_with = folders.provenance("see those of the comparisons", sources(asdict(grid)))
        write_sealed(folder, {"provenance.json": made_with, "overall.json": overall})
    return overall
