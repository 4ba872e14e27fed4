"""Whether a run may continue from what is in its folder, or a finished one be returned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.config.experiment import Experiment
from sandbox.runs import attempts, checkpoint
from sandbox.runs.folder import again
from sandbox.runs.seal import OURS, broken

AGAIN = "last continued"  # what an attempt did that is not the first


def continued(folder: Path, experiment: Experiment) -> dict[str, Any] | None:
    """Return the checkpoint of this run in a folder, from which it may continue; None if there is none.

    Raises:
        RunFailed: for a checkpoint that cannot be read.
        ValueError: for one of another run, with the names of both, and for one whose attempts are not recorded.
    """
    state = own_checkpoint(folder, experiment)
    if state is not None and not attempts.read(folder).get("attempts"):
        raise ValueError(
            f"{folder / attempts.NAME} {attempts.LOST}; put it back, or remove {checkpoint.NAME} to start this run "
            "again"
        )
    return state


def own_checkpoint(folder: Path, experiment: Experiment) -> dict[str, Any] | None:
    """Return the checkpoint in a folder, whatever its other files hold; it raises as `continued` for the checkpoint."""
    path = folder / checkpoint.NAME
    if not path.exists():
        return None
    state = checkpoint.read_checkpoint(path)
    if state["bound"].get("config_sha256") != experiment.digest:
        made_for = str(state["bound"].get("identity"))
        ours, theirs = OURS.search(folder.resolve().name), OURS.search(made_for)
        if ours and theirs and ours[0] == theirs[0]:  # the folder has the name of the checkpoint's run
            raise ValueError(
                f"{folder / 'config.yaml'} has changed since the run was begun: it is now that of "
                f"{experiment.identity}; put the right one back"
            )
        raise ValueError(
            f"{path} is the checkpoint of another run, {made_for}, and this is {experiment.identity}; put the right "
            "one back, or remove it to start this run again"
        )
    return state


def marked(before: Mapping[str, Any] | None) -> list[str]:
    """Return what had changed, and was accepted, before a checkpoint was written."""
    kept = [] if before is None else before["bound"].get("changed")
    return [str(name) for name in kept] if isinstance(kept, list) else []


def changed_since(folder: Path, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, str]:
    """Return what has changed since a checkpoint was written (`attempts.changes`); nothing without one.

    Its provenance counts as well, so that a checkpoint beside the provenance of another run is found.
    """
    if before is None:
        return {}
    first = attempts.changes(attempts.read(folder), now)
    last = attempts.changes(before["bound"], now, did=AGAIN)
    return last | {name: why for name, why in first.items() if name not in marked(before)}


def require_sound(
    folder: Path, experiment: Experiment, now: dict[str, Any], data_dir: str | None, accept: bool
) -> None:
    """Raise ValueError for a finished run that is damaged, or whose data, code or kernels are no longer those here.

    Data of the user's own tasks are loaded to see whether they are the same; if they are not here, they cannot be.
    """
    wrong = broken(folder)
    if wrong:
        raise ValueError(f"{folder} is damaged: {'; '.join(wrong)}; {again(folder)}")
    if ":" in experiment.task.name:
        with suppress(FileNotFoundError):
            now = {**now, "data_sha256": experiment.load(data_dir).checksum}
    made = attempts.read(folder)
    tries = made.get("attempts") or [{}]
    made = {**made, **tries[-1]}  # the others before it were alike, or a change was accepted
    did = "begun" if len(tries) == 1 else AGAIN
    attempts.require_unchanged(folder, attempts.changes(made, now, returned=True, did=did), accept)
