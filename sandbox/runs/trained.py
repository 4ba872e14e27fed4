"""The model of a run with the weights of its last checkpoint, for tools that look at it or change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from rules import Trainer
from sandbox.config.experiment import Experiment
from sandbox.machine.text import command
from sandbox.runs import folder as folders
from sandbox.runs.checkpoint import unreadable
from sandbox.runs.continuing import own_checkpoint
from sandbox.runs.preparing import loaded, own_process, prepare
from sandbox.runs.trust import require_trust
from sandbox.tasks.base import Dataset
from sandbox.tasks.loader import Loader


def admitted(folder: Path, trust: bool) -> Experiment:
    """Return the experiment of a run folder, if its code may be run."""
    require_trust(folder, folders.read_config(folder, "run"), trust)
    experiment: Experiment = folders.load(Experiment, folder)
    return experiment


def trained(
    folder: Path,
    experiment: Experiment,
    data_dir: str | None = None,
    check: Callable[[nn.Module], object] = lambda model: None,
    data: Dataset | None = None,
    suits: Callable[[Dataset], object] = lambda data: None,
) -> tuple[Trainer, Loader, Dataset]:
    """Return the trainer of a run with the weights that it keeps so far, its training batches, and its data.

    Args:
        folder: of the run, finished or not; nothing is written into it.
        experiment: of that folder.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        check: raises for a model that the caller has no use for, before weights are loaded.
        data: of its task, where they are here already.
        suits: raises for data that the caller has no use for, before there is a model.

    Raises:
        ValueError: for a folder without a checkpoint.
        RunFailed: for a checkpoint that cannot be read or does not fit the model.
    """
    kept = own_checkpoint(folder, experiment)
    if kept is None:
        ended = (folder / "result.json").exists()
        remedy = folders.again(folder) if ended else f"`{command('resume', folder)}` writes one"
        raise ValueError(f"{folder} has no checkpoint.pt, so its weights are not known; {remedy}")
    data = loaded(experiment, data_dir) if data is None else data
    suits(data)
    trainer, train = prepare(replace(experiment, parent=None), data)  # it has learned from its parent already
    check(trainer.model)
    try:
        trainer.load_state_dict(kept_by(kept))
    except Exception as error:  # of another model, or damaged
        raise unreadable(folder / "checkpoint.pt", f"{type(error).__name__}: {error}") from error
    return trainer, train, data


def kept_by(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trainer's state that a run keeps in a checkpoint: the last one, or the best one on validation data."""
    best = state["book"].get("best")
    kept: dict[str, Any] = state["trainer"] if best is None else best["trainer"]
    return kept


def read_model(folder: Path | str, data_dir: str | None = None, trust: bool = False) -> nn.Module:
    """Return the model of a run with the weights that it keeps so far, in evaluation mode; projected ones as shown.

    For a teacher, for exports, and for answers to other data. Nothing is written into the folder.

    Args:
        folder: of the run, finished or not.
        data_dir: folder of the data sets, which say the shape of the model.
        trust: whether to run code that the folder names although it was not made here.

    Raises:
        ValueError: for a folder that is not that of a run, or has no checkpoint.
        RunFailed: for a checkpoint that cannot be read or does not fit the model.

    >>> model = read_model("runs/FOLDER")  # doctest: +SKIP
    """
    experiment = admitted(Path(folder), trust)
    with own_process(experiment):
        trainer, _, _ = trained(Path(folder), experiment, data_dir)
        return trainer.model.eval()
