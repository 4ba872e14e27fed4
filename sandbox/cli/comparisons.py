"""The subcommands around comparisons: compare, tune, and continuing them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.cli.executing import executor_of, join
from sandbox.cli.options import OK
from sandbox.cli.printing import Bar, begin, say
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.comparison import compare as run_comparison
from sandbox.comparisons.grid import Grid, grid_from, read_grid, run_grid
from sandbox.comparisons.grid import executor_of as said_of
from sandbox.comparisons.ranking import format_overall
from sandbox.comparisons.sweep import swept
from sandbox.comparisons.table import format_table
from sandbox.machine.text import line
from sandbox.runs import folder as folders
from sandbox.runs.folder import load
from sandbox.tuning.plan import Tuning, begun, fresh
from sandbox.tuning.tuned import budget, notes, search_of
from sandbox.tuning.tuning import tune as run_tuning

ONE_SEARCH = "one search: the error of tuning is not in the intervals of a comparison; --searches 3 puts it there"


def compare(given: Any) -> int:
    """Run a comparison, or a grid of them, or join one of another host."""
    if given.join is not None:
        return join(given)
    comparison = swept(given.made, given.sweep)
    if given.preset is None:
        return _compare(comparison, Path(given.out) / comparison.identity, given)
    if comparison != Comparison():
        raise ValueError(
            f"--preset {given.preset} brings its own settings: leave out the others, or copy its file, "
            "change the copy, and name it with --preset"
        )
    grid = read_grid(given.preset)
    return _grid(grid, Path(given.out) / grid.identity, given, said_of(given.preset))


def tune(given: Any) -> int:
    """Give every rule of a comparison or a grid the same number of trials, whatever earlier searches found."""
    tuning = Tuning(fresh(read_grid(given.config)), given.trials, given.seeds, given.searches, given.sampler)
    return _tune(tuning, Path(given.out) / tuning.identity, given, said_of(given.config))


def _compare(comparison: Comparison, folder: Path, given: Any) -> int:
    from sandbox.report import write_report

    with Bar(given.json) as bar:
        table = run_comparison(comparison, begin(given, folder), **_options(given), progress=bar)
    written = write_report(folder)
    health = [line(f"health of {row['rule']}: {found}") for row in table["rows"] for found in row["health"]]
    say(
        given,
        {"folder": str(folder), "report": str(written.html), **table},
        "\n".join([format_table(table), *health, f"report: {written.html}"]),
    )
    return OK


def _grid(grid: Grid, folder: Path, given: Any, said: Any = None) -> int:
    from sandbox.report import write_report

    with Bar(given.json) as bar:
        overall = run_grid(grid, begin(given, folder), **_options(given, said), progress=bar)
    pages = [write_report(folder / name).html for name in overall["tables"]]
    pages.append(write_report(folder).html)
    texts = [f"{table['task']}\n{format_table(table)}" for table in overall["tables"].values()]
    texts += [f"all tasks\n{format_overall(overall)}", "\n".join(f"report: {page}" for page in pages)]
    text = "\n\n".join(texts)
    say(given, {"folder": str(folder), "reports": [str(page) for page in pages], **overall}, text)
    return OK


def _tune(tuning: Tuning, folder: Path, given: Any, said: Any = None) -> int:
    from sandbox.report import write_report
    from sandbox.report.tuning import noun

    with Bar(given.json, "trial") as bar:
        facts = run_tuning(
            tuning,
            begin(given, folder),
            jobs=given.jobs,
            data_dir=given.data_dir,
            progress=bar,
            skip_unfit=given.skip_unfit,
            executor=executor_of(given, said),
            storage=given.storage,
        )
    written = write_report(folder)
    lines = [*found_lines(facts), *(f"  left out, does not fit: {name}: {why}" for name, why in facts["unfit"].items())]
    end = [f"tuned: {folder / 'tuned.yaml'}", f"report: {written.html}"]
    say(
        given,
        {"folder": str(folder), "tuned": str(folder / "tuned.yaml"), "report": str(written.html), **facts},
        "\n".join([f"best validation {noun(facts)} after {budget(tuning)}", *map(line, lines), *end]),
    )
    return OK


def found_lines(facts: dict[str, Any]) -> list[str]:
    """Return what each search found, and what a reader of its numbers must know."""
    lines = []
    for name, found in facts["studies"].items():
        lines.append(f"  {name}: {found['best']['validation']:.2f} % with {found['best']['options']}")
        lines += [f"    {note}" for note in notes([search_of(found)])]
        if len({trial["validation"] for trial in found["trials"]}) == 1 < len(found["trials"]):
            lines.append("    all its trials ended alike, so nothing was chosen, and the first is kept")
    return [*lines, *([ONE_SEARCH] if facts["budget"]["searches"] == 1 else [])]


def _options(given: Any, said: Any = None) -> dict[str, Any]:
    names = ("jobs", "data_dir", "skip_unfit", "mixed_revisions", "accept_changes")
    executor = executor_of(given, said)
    return {"trackers": tracked_by(given), "executor": executor, **{name: given[name] for name in names}}


def tracked_by(given: Any) -> list[str]:
    """Return the names after `--track`, one or a list."""
    return [given.track] if isinstance(given.track, str) else given.track


def _resume_tuning(folder: Path, given: Any) -> int:
    if given.track:
        raise ValueError(f"--track {given.track}: the trials of a tuning are not tracked; leave it out")
    return _tune(begun(folder), folder, given)


CONTINUE: dict[str, Callable[[Path, Any], int]] = {
    "comparison": lambda folder, given: _compare(load(Comparison, folder), folder, given),
    "grid": lambda folder, given: _grid(grid_from(folders.read_config(folder, "grid")), folder, given),
    "tuning": _resume_tuning,
}
