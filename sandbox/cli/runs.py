"""The subcommands that run one experiment, resume a folder, and write its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rules.team import Team
from sandbox import executors
from sandbox.cli import comparisons
from sandbox.cli import curriculum as curricula
from sandbox.cli.executing import executor_of
from sandbox.cli.options import OK
from sandbox.cli.printing import Bar, begin, percent, say
from sandbox.cli.remedies import code_of
from sandbox.config.experiment import Experiment
from sandbox.machine.text import line
from sandbox.measures import NAMES, measured, said_of_text, score
from sandbox.runs import attempts
from sandbox.runs import folder as folders
from sandbox.runs.folder import load
from sandbox.runs.inherited import resolved
from sandbox.runs.job import Job, run_elsewhere
from sandbox.runs.launched import launched, started
from sandbox.runs.run import run as run_experiment
from sandbox.runs.trust import require_trust


def run(given: Any) -> int:
    """Run one experiment."""
    experiment = resolved(given.made)
    return _run(experiment, Path(given.out) / experiment.identity, given, check=True)


def resume(given: Any) -> int:
    """Continue what a folder holds, a run or more; code that it names needs trust or to be made here."""
    folder = Path(given.folder)
    kind = folders.kind_of(folder)
    require_trust(folder, folders.read_config(folder), given.trust)
    if kind == "run":
        return _run(load(Experiment, folder), folder, given)
    if kind == "curriculum":
        return curricula.carry_on(folder, given)
    if started() > 1:
        raise ValueError(
            f"{folder} holds a {kind}, whose runs use processes of their own: give --jobs, and no torchrun"
        )
    return comparisons.CONTINUE[kind](folder, given)


def report(given: Any) -> int:
    """Write the HTML report and the figures."""
    from sandbox.report import write_report

    written = write_report(Path(given.folder))
    facts = {"html": str(written.html), "figures": [str(path) for path in written.figures]}
    say(given, facts, f"report: {written.html}")
    return OK


def _run(experiment: Experiment, folder: Path, given: Any, check: bool = False) -> int:
    """Run the experiment as one of the processes that torchrun has started, or as the only one."""
    with launched(experiment.device) as team:
        try:
            with team.together():
                if check:
                    experiment.check()
            if team.first:
                return _lead(experiment, folder, given, team)
            run_experiment(experiment, folder, data_dir=given.data_dir, accept_changes=given.accept_changes, team=team)
        except Exception as error:
            code = code_of(error)
            if team.first or code is None or not team.knows(error):
                raise
            return code  # the first process says what it was
        return OK


def _lead(experiment: Experiment, folder: Path, given: Any, team: Team) -> int:
    """Run the experiment as the process that writes and prints."""
    trackers, place = comparisons.tracked_by(given), begin(given, folder)
    where = executor_of(given) if "executor" in given else "local"
    with Bar(given.json) as bar:
        if where == "local":
            result = run_experiment(
                experiment,
                place,
                data_dir=given.data_dir,
                progress=bar,
                trackers=trackers,
                accept_changes=given.accept_changes,
                team=team,
            )
        else:
            job = Job(experiment, place, given.data_dir, tuple(trackers), given.accept_changes)
            result = run_elsewhere(job, executors.make(where, given.jobs), bar)
    text = "\n".join(
        [
            f"{experiment.task.name} with {experiment.rule.title}, seed {experiment.seed}: test "
            f"{NAMES[measured(result['test'])]} {percent(score(result['test']))} after {result['steps']} steps",
            *(f"test {name}: {number}" for name, number in said_of_text(result["test"]).items()),
            *(line(f"health: {found}") for found in result["health"]),
            *map(line, elsewhen(folder)),
            f"folder: {folder}",
        ]
    )
    say(given, {"folder": str(folder), **result}, text)
    return OK


def elsewhen(folder: Path) -> list[str]:
    """Return a line where another revision of this project made a result than the one that shows it."""
    made, now = attempts.read(folder).get("revision", "unknown"), folders.revision()
    return [] if made == now else [f"note: made by revision {made[:12]} of this project; this is {now[:12]}"]
