"""What a run takes over from a finished one, its parent: the folder is found, checked, and known by its weights."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from rules.forward import leaves
from sandbox.config.experiment import Experiment
from sandbox.config.parent import Parent
from sandbox.machine.text import command
from sandbox.runs import folder as folders
from sandbox.runs.arrays import attached
from sandbox.runs.continuing import own_checkpoint
from sandbox.runs.preparing import loaded, own_process
from sandbox.runs.seal import broken
from sandbox.runs.trained import admitted, kept_by, trained
from sandbox.tasks.base import Dataset
from sandbox.tasks.text.tokenizers import require_same


def resolved(experiment: Experiment, folder: Path | None = None) -> Experiment:
    """Return an experiment whose parent, if it has one, is known by its weights.

    Args:
        experiment: with a parent or without.
        folder: of its run. A parent that it has recorded keeps the path that it was given then.

    Raises:
        ValueError: for a parent that is missing, not finished or damaged.
    """
    parent = experiment.parent
    if parent is None:
        return experiment
    known = replace(parent, sha256=fingerprint(found(parent, folder))) if parent.sha256 is None else parent
    recorded = _recorded(folder)
    if recorded is not None and recorded.sha256 == known.sha256 and recorded.how == known.how:
        known = recorded
    return replace(experiment, parent=known)


def found(parent: Parent, folder: Path | None = None) -> Path:
    """Return the folder of a parent, checked: a finished run, as it was left, with the weights that are recorded.

    Raises:
        ValueError: for a folder that is missing, holds no run, is not finished, damaged, or has other weights.
    """
    place = located(parent, folder)
    folders.read_config(place, "run")
    if not (place / "result.json").exists():
        raise ValueError(f"parent {place} is not finished, so it hands nothing on: `{command('resume', place)}` first")
    wrong = broken(place)
    if wrong:
        raise ValueError(f"parent {place} is damaged: {'; '.join(wrong)}; {folders.again(place)}")
    if parent.sha256 is not None and (now := fingerprint(place)) != parent.sha256:
        raise ValueError(
            f"parent {place} has other weights than the run began with: {now[:8]}, and recorded is "
            f"{parent.sha256[:8]}; put the right folder back, or begin anew in another folder"
        )
    return place


def located(parent: Parent, folder: Path | None = None) -> Path:
    """Return the folder of a parent, beside that of its run or from the working folder; ValueError if it is missing."""
    beside = [] if folder is None else [folder.parent / parent.folder]
    place = next((each for each in (*beside, Path(parent.folder)) if each.is_dir()), None)
    if place is None:
        tried = " and ".join(str(each) for each in (*beside, Path(parent.folder)))
        raise ValueError(f"parent.folder={parent.folder!r}: there is no such folder ({tried}); name a finished run")
    return place


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of the configuration of a finished run, and of the weights that it keeps.

    Unlike the files of a run, it does not depend on when the run was made, nor on how often it was stopped.
    """
    experiment: Experiment = folders.load(Experiment, folder)
    state = own_checkpoint(folder, experiment)
    if state is None:
        raise ValueError(f"parent {folder} has no checkpoint.pt, so its weights are not known; {folders.again(folder)}")
    digest = hashlib.sha256(experiment.digest.encode())
    _add(digest, kept_by(state)["model"])
    return digest.hexdigest()


def heritage(experiment: Experiment, folder: Path, data: Dataset, data_dir: str | None = None) -> nn.Module | None:
    """Return the model of an experiment's parent, with the weights that it keeps; None without a parent.

    It is in evaluation mode, on the device of the experiment, and wants no gradient.

    Args:
        experiment: with its parent.
        folder: of its run.
        data: of its task.
        data_dir: folder of the data sets.

    Raises:
        ValueError: for a parent that is missing, damaged, of another task, tokenizer, shape or number of classes, and
            for a teacher that learned from sequences of another encoder.
    """
    if experiment.parent is None:
        return None
    place = found(experiment.parent, folder)
    theirs = attached(admitted(place, trust=False), place)
    require_alike(experiment, theirs, place)
    with own_process(theirs):
        before = data if theirs.task == experiment.task else loaded(theirs, data_dir)
        _require_fit(before, data, place)
        trainer, _, _ = trained(place, theirs, data_dir, data=before)
    model = trainer.model.to(experiment.device).eval()
    return model.requires_grad_(False)


def require_alike(experiment: Experiment, theirs: Experiment, place: Path) -> None:
    """Raise ValueError for a parent of another task, and a teacher of another encoder; warn of other options."""
    if theirs.task.name != experiment.task.name:
        raise ValueError(
            f"parent {place} has learned task {theirs.task.name!r}, and this run learns {experiment.task.name!r}: name "
            "a run of the same task"
        )
    assert experiment.parent is not None
    mine, own = (dict(getattr(each.task, "options", {})) for each in (theirs, experiment))  # arrays have none
    if mine != own:
        apart = sorted(name for name in {*mine, *own} if mine.get(name) != own.get(name))
        said = ", ".join(f"{name} {mine.get(name, 'by default')} and {own.get(name, 'by default')}" for name in apart)
        warnings.warn(
            f"parent {place} has learned task {theirs.task.name!r} with other options than this run's: {said}. It may "
            "have seen what is tested here, or other numbers than it would be shown",
            UserWarning,
            stacklevel=3,
        )
    if experiment.parent.teaches and theirs.encoder != experiment.encoder:
        raise ValueError(
            f"parent {place} has learned from sequences of encoder {theirs.encoder.name!r} {theirs.encoder.options}, "
            f"and would be shown those of {experiment.encoder.name!r} {experiment.encoder.options}: use the same "
            "encoder, or begin with its weights alone, --parent.how weights"
        )


def _require_fit(before: Dataset, data: Dataset, place: Path) -> None:
    """Raise ValueError for a parent that knows other tokens, classes or features."""
    try:
        require_same(before.tokenizer, data.tokenizer)
    except ValueError as error:
        raise ValueError(f"parent {place}: {error}") from error
    for what, mine, own in (("outputs", before.outputs, data.outputs), ("features", before.shape, data.shape)):
        if mine != own:
            raise ValueError(
                f"parent {place} has learned a task of {mine} {what}, and this run's task has {own}: name a run with "
                "the same options of the task"
            )


def _recorded(folder: Path | None) -> Parent | None:
    """Return the parent in the configuration of a run's folder; None where there is none, or it cannot be read."""
    with suppress(Exception):  # whatever is wrong with it is said when the folder is used
        if folder is not None and (folder / "config.yaml").exists():
            experiment: Experiment = folders.load(Experiment, folder)
            return experiment.parent
    return None


def _add(digest: Any, tree: Any, name: str = "") -> None:
    """Add the names, kinds, shapes and bytes of tensors in nested dicts to a digest, in the order of names."""
    if isinstance(tree, dict):
        for key in sorted(tree):
            _add(digest, tree[key], f"{name}.{key}")
        return
    for part in leaves(tree):
        held: Tensor = part.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {tuple(held.shape)}\n".encode())
        digest.update(held.numpy().tobytes())
