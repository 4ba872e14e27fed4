"""The arrays of tasks that were given from Python, kept as plain tensors beside the runs that learn from them."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import torch

from sandbox.config.experiment import Experiment
from sandbox.config.given import CHECKSUM, Given, given
from sandbox.machine import files
from sandbox.machine.tensors import read_tensors, require_stored
from sandbox.tasks.base import ArrayTask
from sandbox.tasks.dataset import SPLITS, Dataset
from sandbox.tasks.splits import Split

LEVELS = 3  # a run, its comparison, its grid: the arrays are in the uppermost that has them


def keep(experiment: Experiment, folder: Path) -> None:
    """Write the arrays of an experiment's task into a folder, unless it or one above has them; names need no file."""
    choice = experiment.task
    if not isinstance(choice, Given) or _found(choice.options[CHECKSUM], folder) is not None:
        return
    data = choice.task.data
    content = {
        "splits": {place: _plain(getattr(data, place)) for place in SPLITS},
        "classes": data.classes,
        "sequence": data.sequence,
        "target": data.target,
    }
    file = io.BytesIO()
    torch.save(content, file)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / _name(choice.options[CHECKSUM]), file.getvalue())


def attached(experiment: Experiment, folder: Path) -> Experiment:
    """Return an experiment with the arrays of its task, read from its folder or one above.

    An experiment that has them, or needs none, is returned as it is; so is one whose arrays are not there, because what
    it has learned can be read without them.
    """
    choice = experiment.task
    checksum = choice.options.get(CHECKSUM)
    if isinstance(choice, Given) or not isinstance(checksum, str):
        return experiment
    path = _found(checksum, folder)
    if path is None:
        return experiment
    data = _read(path)
    if data.checksum != checksum:
        raise ValueError(f"{path} does not hold the arrays that its name says; remove it, and give the task again")
    return replace(experiment, task=given(ArrayTask(choice.name, data)))


def _read(path: Path) -> Dataset:
    """Return the arrays in a file; raise ValueError, which names it, for anything else; nothing in it is run."""
    try:
        content = read_tensors(path)
        require_stored(path, content)
        train, validation, test = (Split(**content["splits"][place]) for place in SPLITS)
        return Dataset(train, validation, test, content["classes"], content["sequence"], content["target"])
    except Exception as error:  # a damaged file may raise anything
        raise ValueError(f"{path} holds no arrays ({error}); remove it, and give the task again") from error


def _found(checksum: str, folder: Path) -> Path | None:
    """Return the file of the arrays with this checksum."""
    folder = folder.resolve()
    places = [folder, *folder.parents][:LEVELS]
    return next((place / _name(checksum) for place in places if (place / _name(checksum)).exists()), None)


def _name(checksum: str) -> str:
    return f"arrays-{checksum[:12]}.pt"


def _plain(split: Split) -> dict[str, object]:
    plain = {"x": split.x, "y": split.y, "lengths": split.lengths, "by_step": split.by_step}
    return plain if split.labels is None else {**plain, "labels": split.labels}
