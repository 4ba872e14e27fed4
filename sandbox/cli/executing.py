"""Where the jobs of a command run: `--executor`, and `compare --join`, which works on what another host shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rules.errors import unknown
from sandbox import executors
from sandbox.cli.options import COMMANDS, OK
from sandbox.cli.printing import Bar, begin, say
from sandbox.comparisons.comparison import Comparison, with_arrays
from sandbox.comparisons.grid import grid_from
from sandbox.executors.base import Executor, Work, guarded
from sandbox.executors.session import find
from sandbox.executors.shared import Shared
from sandbox.machine.files import require_inside
from sandbox.machine.text import command
from sandbox.runs import folder as folders
from sandbox.runs.job import Job
from sandbox.runs.trust import require_trust
from sandbox.tuning import storage
from sandbox.tuning.plan import begun

# Options that go together with --join.
ALLOWED = ("join", "jobs", "data_dir", "track", "storage", "json", "trust", "accept_changes")
KEYS = ("name", "options")
WRITTEN = {"comparison": "table.json", "grid": "overall.json", "tuning": "tuning.json"}  # by the caller, at the end


def executor_of(given: Any, said: Any = None) -> str | Executor:
    """Return the executor of a command: that of the command line, or else of a file, or else local processes.

    Args:
        given: the parsed command line.
        said: what a file says: a name, or a dict with `name` and `options`.
    """
    found = given.executor if given.executor is not None else said
    name: Any = found
    options: dict[str, Any] = {}
    if isinstance(found, dict):
        for key in found:
            if key not in KEYS:
                raise unknown("key of executor", str(key), KEYS)
        name, options = found.get("name"), found.get("options") or {}
    name = "local" if name is None else name
    if not isinstance(name, str) or not isinstance(options, dict):
        raise ValueError(f"executor: {found!r}: give a name, or a name and options, {{name: shared, options: {{}}}}")
    options = {**options, **given.executor_options}
    made = executors.make(name, given.jobs, options)  # finds mistakes; local processes have no options
    return "local" if name == "local" else made


def join(given: Any) -> int:
    """Work on the jobs in a folder that another host shares, until all are done or have failed."""
    _require_alone(given)
    folder = Path(given.join)
    executors.make("shared", given.jobs)
    session = find(folder)
    kind = folders.kind_of(folder)
    if kind not in JOBS:
        raise ValueError(f"{folder} holds a {kind}; join a comparison, a grid or a tuning")
    require_trust(folder, folders.read_config(folder), given.trust)
    wanted = set(session.jobs)
    jobs = [job for job in JOBS[kind](folder, given) if job.folder.relative_to(folder).as_posix() in wanted]
    require_inside(folder, [job.folder for job in jobs])
    written = folder / WRITTEN[kind]
    known = written.exists()
    where = Shared.joining(given.jobs, session.lease)
    try:
        where.submit(jobs, begin(given, folder, "sandbox compare --join"))
        with Bar(given.json, "trial" if kind == "tuning" else "step") as bar:
            errors = where.gather(guarded(jobs, folder, bar))
    finally:
        where.cancel()
    facts = {
        "folder": str(folder),
        "jobs": len(jobs),
        "here": where.here,
        "failed": {place.name: text for place, text in errors.items()},
    }
    end = f"{written} was there before" if known and not where.here else f"{session.host} writes {written.name}"
    lines = [f"{len(jobs)} jobs are done, {where.here} of them here; {end}"]
    lines += [f"failed: {name}: {text}" for name, text in facts["failed"].items()]  # type: ignore[attr-defined]
    say(given, facts, "\n".join(lines))
    return OK


def _require_alone(given: Any) -> None:
    """Raise ValueError for settings beside --join: those of the folder count."""
    own = {option.name.removeprefix("--").replace("-", "_"): option for option in COMMANDS["compare"].options}
    others = [
        option.name
        for name, option in own.items()
        if name not in ALLOWED and given[name] != (False if option.flag else option.default)
    ]
    if given.made != Comparison():
        others.append("the settings of a comparison")
    if others:
        raise ValueError(
            f"--join takes everything from the folder; leave out {', '.join(others)}: "
            f"{command('compare', '--join', given.join, '--jobs', given.jobs)}"
        )


def _compared(comparison: Comparison, folder: Path, given: Any) -> list[Work]:
    comparison, track = with_arrays(comparison, folder), given.track
    names = (track,) if isinstance(track, str) else tuple(track)
    return [
        Job(experiment, folder / experiment.identity, given.data_dir, names, given.accept_changes)
        for found in comparison.experiments().values()
        for experiment in found
    ]


def _of_grid(folder: Path, given: Any) -> list[Work]:
    grid = grid_from(folders.read_config(folder, "grid"))
    return [job for each in grid.comparisons for job in _compared(each, folder / each.identity, given)]


def _of_tuning(folder: Path, given: Any) -> list[Work]:
    return [*begun(folder).studies(folder, given.data_dir, storage.chosen(given.storage, folder, True))]


JOBS: dict[str, Callable[[Path, Any], list[Work]]] = {
    "comparison": lambda folder, given: _compared(folders.load(Comparison, folder), folder, given),
    "grid": _of_grid,
    "tuning": _of_tuning,
}
