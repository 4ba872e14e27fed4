"""The pruned model of a run: made from its last checkpoint, written beside it, and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from rules.batches import fitted
from sandbox.machine import files
from sandbox.machine.tensors import read_tensors
from sandbox.machine.text import command
from sandbox.networks.pruning import RATE, Pruned, gated, prune_silent, remove
from sandbox.runs import folder as folders
from sandbox.runs.checkpoint import packed
from sandbox.runs.preparing import evaluation, loaded, own_process
from sandbox.runs.trained import admitted, trained

MODEL, FACTS = "pruned.pt", "pruned.json"


def prune_run(folder: Path, data_dir: str | None = None, trust: bool = False, rate: float = RATE) -> Pruned:
    """Prune the model of a run with the weights of its last checkpoint, and write `pruned.pt` and `pruned.json`.

    Nothing is written unless every output on the training set stays as it was, bit for bit.

    Args:
        folder: of a run, finished or not.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        trust: whether to run code that the folder names although it was not made here.
        rate: spikes per neuron and step below which a shortcut counts as silent.

    Raises:
        ValueError: for a folder that is not that of a run or has no checkpoint, and as `prune_silent`.
        RunFailed: for a checkpoint that cannot be read or does not fit the model.
        FolderInUse: for a folder that another process is writing to.
    """
    experiment = admitted(folder, trust)
    with folders.locked(folder), own_process(experiment):
        trainer, _, data = trained(folder, experiment, data_dir, gated)
        train = evaluation(experiment, data.train, "training samples")
        first = next(trainer.model.parameters())
        found = prune_silent(trainer.model, _Fitted(train, trainer.model, first), rate)
        state = {"format": folders.FORMAT, "removed": list(found.removed), "model": found.model.state_dict()}
        files.write_atomically(folder / MODEL, packed(state))
        files.write_json(folder / FACTS, {"identity": experiment.identity, "rate": rate, **found.facts()})
        return found


def read_pruned(folder: Path, data_dir: str | None = None, trust: bool = False) -> nn.Module:
    """Return the model that `prune_run` has written into the folder of a run.

    Args:
        folder: of the run.
        data_dir: folder of the data sets, which say the shape of the model.
        trust: whether to run code that the folder names although it was not made here.

    Raises:
        ValueError: for a folder without a pruned model.
    """
    experiment = admitted(folder, trust)
    if not (folder / MODEL).exists():
        raise ValueError(f"{folder} has no {MODEL}; `{command('prune', folder)}` writes one")
    state: dict[str, Any] = read_tensors(folder / MODEL)
    with own_process(experiment):
        data = loaded(experiment, data_dir)
        model = experiment.network.make(data.shape, data.outputs, experiment.seed)
    remove(model, state["removed"])
    model.load_state_dict(state["model"])
    return model


class _Fitted:
    """Batches with the dtype and on the device of a model."""

    def __init__(self, loader: Any, model: nn.Module, like: nn.Parameter) -> None:
        self.loader, self.model, self.like = loader, model, like

    def __iter__(self) -> Any:
        return (fitted(batch, self.model, self.like) for batch in self.loader)
