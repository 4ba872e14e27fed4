"""Whether a run may continue from what is in its folder, or a finished one be returned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sandbox.config.experiment import Experiment
from sandbox.runs import attempts, checkpoint
from sandbox.runs.folder import again
from sandbox.runs.seal import broken


def continued(folder: Path, experiment: Experiment) -> dict[str, Any] | None:
    """Return the checkpoint of this run in a folder; None if there is none.

    Raises:
        RunFailed: for a checkpoint that cannot be read.
        ValueError: for one of another run; names both.
    """
    path = folder / checkpoint.NAME
    if not path.exists():
        return None
    state = checkpoint.read_checkpoint(path)
    if state["bound"].get("config_sha256") != experiment.digest:
        raise ValueError(
            f"{path} is the checkpoint of another run, {state['bound'].get('identity')}, and this is "
            f"{experiment.identity}; put the right one back, or remove it to start this run again"
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
    return {name: why for name, why in first.items() if name not in marked(before)} | attempts.changes(
        before["bound"], now
    )


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
    made = {**made, **(made.get("attempts") or [{}])[-1]}  # the others before it were alike, or a change was accepted
    attempts.require_unchanged(folder, attempts.changes(made, now, returned=True), accept)
