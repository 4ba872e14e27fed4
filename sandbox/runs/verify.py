"""What of a run folder holds: its seal, numbers, checkpoint, code and data. Nothing is run, unpickled or written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.config.experiment import Experiment
from sandbox.config.given import Given
from sandbox.machine.text import said
from sandbox.microscope import journal
from sandbox.runs import attempts, checkpoint, seal
from sandbox.runs.arrays import attached
from sandbox.runs.continuing import own_checkpoint
from sandbox.runs.folder import FORMAT, format_of, load
from sandbox.runs.growing import Growing
from sandbox.runs.inherited import found, located
from sandbox.runs.plausible import impossible
from sandbox.tasks import TASKS
from sandbox.tasks.files import offline

OWN_TASKS = {f"{task.__module__}:{task.__qualname__}" for task in TASKS.values()}  # as a task object is written down
Saved = Callable[[], dict[str, Any] | None]  # returns the checkpoint
AS = {"weights": "weights", "teacher": "model as its teacher", "both": "weights, and its model as its teacher"}
HOLDS, FAILS, OPEN = "ok", "WRONG", "-"  # how the line of a finding begins; the last is for what cannot be checked


class Finding(NamedTuple):
    """One thing that was checked.

    Args:
        what: the thing.
        state: HOLDS, FAILS or OPEN.
        why: what was found, in a sentence.
    """

    what: str
    state: str
    why: str


def verify_run(folder: Path, data_dir: str | None = None) -> list[Finding]:
    """Check the folder of a run.

    Args:
        folder: of a run, finished or not.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default. Nothing is downloaded.

    Returns: a finding for each thing that was checked.
    """
    try:
        experiment: Experiment = load(Experiment, folder)
    except Exception as error:  # a damaged file may raise anything
        return [Finding("configuration", FAILS, f"config.yaml cannot be read ({said(error)})")]
    saved = cache(lambda: own_checkpoint(folder, experiment))  # it may be large
    checks: dict[str, Callable[[Path, Experiment], tuple[str, str]]] = {
        "configuration": _configuration,
        "seal": _seal,
        "numbers": _numbers,
        "checkpoint": lambda folder, experiment: _checkpoint(folder, saved),
        "metrics": lambda folder, experiment: _metrics(folder, saved),
        "attempts": lambda folder, experiment: _attempts(folder, saved),
        "code": _code,
        "data": lambda folder, experiment: _data(folder, experiment, data_dir),
        "kernels": _kernels,
    }
    checks |= {} if experiment.parent is None else {"parent": _parent}
    return [Finding(what, *_checked(check, folder, experiment)) for what, check in checks.items()]


def _checked(check: Callable[[Path, Experiment], tuple[str, str]], *about: Any) -> tuple[str, str]:
    try:
        return check(*about)
    except Exception as error:  # a damaged file may raise anything, and the other lines are wanted all the same
        return FAILS, said(error)


def _configuration(folder: Path, experiment: Experiment) -> tuple[str, str]:
    ours, wanted = seal.OURS.search(folder.resolve().name), seal.OURS.search(experiment.identity)
    if ours and wanted and ours[0] != wanted[0]:
        if format_of(folder) < FORMAT:
            return OPEN, f"that of {experiment.identity}, by this version; an earlier one named the folder"
        return FAILS, f"it is that of {experiment.identity}, not of this folder"
    kept = seal.read_seal(folder)
    if kept is not None and kept.identity != experiment.identity:
        return FAILS, f"it is that of {experiment.identity}, and the seal is that of {kept.identity}"
    return HOLDS, f"that of {experiment.identity}"


def _seal(folder: Path, experiment: Experiment) -> tuple[str, str]:
    if not (folder / "result.json").exists():
        return OPEN, "no seal yet: the run is not finished"
    kept = seal.read_seal(folder)
    if kept is None:
        earlier = format_of(folder) < FORMAT
        return (OPEN, "no seal: an earlier version wrote it") if earlier else (FAILS, f"no seal: {seal.NAME} is gone")
    wrong = seal.unsealed(folder)
    return (FAILS, "; ".join(wrong)) if wrong else (HOLDS, f"{len(kept.files)} files are as the run left them")


def _numbers(folder: Path, experiment: Experiment) -> tuple[str, str]:
    wrong = impossible(folder)
    return (FAILS, "; ".join(wrong)) if wrong else (HOLDS, "all are possible")


def _checkpoint(folder: Path, saved: Saved) -> tuple[str, str]:
    if not (folder / checkpoint.NAME).exists():
        done = (folder / "result.json").exists()
        return (FAILS, "there is none, and the run is finished") if done else (OPEN, "there is none yet")
    if format_of(folder) < FORMAT:
        return OPEN, "not checked: an earlier version wrote it, without a checksum"
    saved()
    return HOLDS, "its checksum is right, and it belongs to this run"


def _metrics(folder: Path, saved: Saved) -> tuple[str, str]:
    """Return whether the files that grow while a run learns begin as its checkpoint says."""
    try:
        state = saved() if format_of(folder) >= FORMAT else None
    except Exception:  # a damaged file may raise anything; the line of the checkpoint says it
        return OPEN, "not checked: the checkpoint that counts them cannot be used"
    if state is None:
        return OPEN, "not checked: no checkpoint counts them yet"
    for part, name in (("metrics", "metrics.jsonl"), ("looks", journal.NAME)):
        Growing(folder / name).require(state[part])
    return HOLDS, f"{state['metrics']['bytes']} bytes are as the checkpoint counts them"


def _attempts(folder: Path, saved: Saved) -> tuple[str, str]:
    made = attempts.read(folder)
    tries = made.get("attempts", [])
    if format_of(folder) < FORMAT and not tries:
        return OPEN, "not recorded: an earlier version wrote it"
    with suppress(Exception):  # the line of the checkpoint says what is wrong with it
        state = saved()
        if state is not None and all(attempts.changes(each, state["bound"]) for each in tries):
            return FAILS, f"{attempts.NAME} {attempts.LOST}"
    if not tries:
        begun = (folder / "metrics.jsonl").exists()
        return (FAILS, f"{attempts.NAME} is missing, or records none") if begun else (OPEN, "none is recorded")
    count = f"{len(tries)} attempt{'s' if len(tries) > 1 else ''}, revision {made.get('revision', 'unknown')[:12]}"
    if made.get("changed"):
        return FAILS, f"{count}; it was continued with another: {', '.join(map(str, made['changed']))}"
    last = next((n for n in reversed(range(len(tries))) if tries[n].get("continued_from_step") is None), 0)
    odd = {name for each in tries[last:] for name in attempts.changes(tries[last], each)}
    return (FAILS, f"{count}; they differ in: {', '.join(sorted(odd))}") if odd else (HOLDS, f"{count}, all alike")


def _code(folder: Path, experiment: Experiment) -> tuple[str, str]:
    kept = attempts.code_of(attempts.read(folder))
    if not kept:
        return HOLDS, "the configuration names no code of the user's own"
    now = attempts.own_code(experiment)
    changed = sorted(name for name in kept if name in now and now[name] != kept[name])
    if changed:
        return FAILS, f"{', '.join(changed)}: not as the run was made with"
    gone = sorted(name for name in kept if name not in now)
    return (OPEN, f"{', '.join(gone)}: not here") if gone else (HOLDS, f"{', '.join(kept)}: as the run was made with")


def _data(folder: Path, experiment: Experiment, data_dir: str | None) -> tuple[str, str]:
    kept = attempts.read(folder).get("data_sha256")
    if kept is None:
        return OPEN, "no checksum is recorded"
    name = experiment.task.name
    given = attached(experiment, folder)
    if ":" in name and not isinstance(given.task, Given) and name not in OWN_TASKS:
        return OPEN, f"not loaded, because that would run {name.rpartition(':')[0]}"
    try:
        with offline():
            found = given.load(data_dir).checksum
    except (FileNotFoundError, ValueError, ImportError) as error:
        return OPEN, f"not here ({' '.join(str(error).split())})"
    return (HOLDS, "those that the run learned from") if found == kept else (FAILS, "not those the run learned from")


def _parent(folder: Path, experiment: Experiment) -> tuple[str, str]:
    """Return whether the run that this one began from is still the one that it began from."""
    parent = experiment.parent
    assert parent is not None
    if parent.sha256 is None:
        return FAILS, "config.yaml does not say which weights the run began from"
    try:
        place = located(parent, folder)
    except ValueError as error:
        return OPEN, f"not here ({said(error)})"
    found(parent, folder)
    return HOLDS, f"{place.name} is as when the run took over its {AS[parent.how]} ({parent.sha256[:8]})"


def _kernels(folder: Path, experiment: Experiment) -> tuple[str, str]:
    made = attempts.read(folder)
    kept = attempts.kernels_of(made)
    if kept is None:
        return OPEN, "the mode is not recorded"
    others = {attempts.kernels_of(each) for each in made.get("attempts", [])} - {kept, None}
    asked = made["kernels"].get("asked")
    if asked != experiment.kernels:
        return FAILS, f"{asked} was asked for, and the configuration says {experiment.kernels}"
    odd = ", ".join(sorted(str(other) for other in others))
    return (FAILS, f"{kept}, and later {odd}") if others else (HOLDS, f"{kept}, in all attempts")
