"""Several comparisons in one folder, their runs side by side on the same processes, and one ranking over all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rules.errors import unknown
from sandbox.comparisons.admission import Unfit
from sandbox.comparisons.comparison import Comparison, Progress, check_names, plan, require_jobs
from sandbox.comparisons.ranking import make_overall
from sandbox.config.identity import fingerprint
from sandbox.config.reading import from_dict
from sandbox.config.registry import made
from sandbox.executors.local import run_all
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs.book import RunFailed

PRESETS = Path(__file__).parents[1] / "presets"


@dataclass(frozen=True)
class Grid:
    """Comparisons, each with a task of its own, under a name."""

    comparisons: list[Comparison]
    name: str = "grid"

    def __post_init__(self) -> None:
        places = [comparison.identity for comparison in self.comparisons]
        if not places:
            raise ValueError("comparisons=[]: give at least one")
        if len(set(places)) < len(places):
            raise ValueError("a grid has the same comparison twice; give each once")

    @property
    def identity(self) -> str:
        """A readable name with a hash of the whole configuration."""
        return f"{self.name}-{fingerprint(self)}"


def presets() -> dict[str, Path]:
    """The grids that come with the project, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def read_grid(name: str) -> Grid:
    """A preset by its name, or the grid or comparison in a YAML file.

    Raises ValueError for an unknown name, or a file that holds neither.
    """
    known = presets()
    path = known.get(name, Path(name))
    if not path.exists():
        raise unknown("preset", name, [*known, "path/to/grid.yaml"])
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no comparison: write `experiment`, `rules` and `seeds`, or `comparisons`")
    if "comparisons" not in content:
        return Grid([from_dict(Comparison, content)], path.stem)
    return grid_from(content, path.stem)


def grid_from(content: Mapping[str, Any], name: str = "grid") -> Grid:
    """A grid from what a YAML file holds; raises ValueError for a misspelt key."""
    for key in content:
        if key not in ("name", "comparisons"):
            raise unknown("key of a grid", key, ["name", "comparisons"])
    return Grid([from_dict(Comparison, each) for each in content["comparisons"]], content.get("name", name))


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
) -> dict[str, Any]:
    """Run every comparison in a folder below `folder` and write `overall.json`; continues where it was stopped.

    Returns the ranking over all tasks, with the table of each under `tables`. Raises as `compare` does: what
    cannot be run is named, for all comparisons at once, before anything runs; RunFailed comes last.
    """
    require_jobs(jobs)
    for comparison in grid.comparisons:
        check_names(comparison)
    made(trackers)
    with folders.locked(folder), ExitStack() as held:
        folders.write_config(folder, "grid", asdict(grid))
        planned, refused = [], []
        for comparison in grid.comparisons:
            place = folder / comparison.identity
            held.enter_context(folders.locked(place))
            try:
                planned.append(plan(comparison, place, data_dir, skip_unfit, mixed_revisions, tuple(trackers)))
            except Unfit as error:
                refused.append(str(error))
        if refused:
            raise ValueError("\n".join(refused))
        errors = run_all([job for each in planned for job in each.jobs], jobs, progress or (lambda done, total: None))
        tables, failed = {}, []
        for each in planned:
            try:
                tables[each.folder.name] = each.conclude(errors)
            except RunFailed as error:
                failed.append(str(error))
        if failed:
            raise RunFailed("\n".join(failed))
        overall = make_overall(tables)
        files.write_json(folder / "overall.json", overall)
        files.write_json(folder / "provenance.json", folders.provenance("see those of the comparisons"))
    return overall
